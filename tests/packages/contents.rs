//! What the packages bring, beside the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ROOT;
use crate::fixtures::process::run;
use crate::host::Host;

/// Folders of the repository whose files come as they are, and where to; so does every folder of
/// packaging/ that is none of [`OTHERS`].
const FOLDERS: [(&str, &str); 2] =
    [("haproxy", "/usr/share/doc/rolecall/haproxy"), ("docs", "/usr/share/doc/rolecall")];
const OTHERS: [&str; 4] = ["debian", "rpm", "systemd", "man"];

/// Single files, the same way.
const FILES: [(&str, &str); 6] = [
    ("packaging/rolecall.toml", "/etc/rolecall/rolecall.toml"),
    ("packaging/systemd/rolecall.service", "/usr/lib/systemd/system/rolecall.service"),
    ("packaging/systemd/rolecall.socket", "/usr/lib/systemd/system/rolecall.socket"),
    ("packaging/systemd/rolecall.sysusers", "/usr/lib/sysusers.d/rolecall.conf"),
    ("packaging/systemd/rolecall.tmpfiles", "/usr/lib/tmpfiles.d/rolecall.conf"),
    ("packaging/debian/copyright", "/usr/share/doc/rolecall/copyright"),
];

/// Files that are packed, and what they are before.
const PACKED: [(&str, &str); 2] = [
    ("CHANGELOG.md", "/usr/share/doc/rolecall/changelog.gz"),
    ("packaging/debian/changelog", "/usr/share/doc/rolecall/changelog.Debian.gz"),
];

const BASH: &str = "/usr/share/bash-completion/completions/rolecall";
const FISH: &str = "/usr/share/fish/vendor_completions.d/rolecall.fish";
const ZSH: &str = "/usr/share/zsh/vendor-completions/_rolecall";

fn files(folder: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
    let files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

pub fn everything_is_where_it_belongs(host: &Host) {
    let machine = &host.machine;
    let mut count = 0;
    let mut same = |file: &Path, shown: &str| {
        // A picture is no text, so all are compared in letters.
        let mut ours = Command::new("sh");
        ours.args(["-c", "base64 -w0 <\"$0\""]).arg(file);
        let theirs = machine.sh(&format!("{shown} | base64 -w0"));
        assert!(theirs == run(ours).trim(), "`{shown}` is not {}", file.display());
        count += 1;
    };
    let mut folders = FOLDERS.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec();
    for folder in files("packaging").iter().filter(|path| path.is_dir()).map(|path| name(path)) {
        if !OTHERS.contains(&folder) {
            let to = format!("/usr/share/rolecall/{folder}");
            folders.push((format!("packaging/{folder}"), to));
        }
    }
    for (folder, place) in folders {
        for file in files(&folder) {
            same(&file, &format!("cat {place}/{}", name(&file)));
        }
    }
    for folder in ["sql", "hooks", "prometheus", "grafana"] {
        machine.sh(&format!("ls /usr/share/rolecall/{folder}"));
    }
    for (file, place) in FILES {
        same(&Path::new(ROOT).join(file), &format!("cat {place}"));
    }
    for (file, place) in PACKED {
        same(&Path::new(ROOT).join(file), &format!("zcat {place}"));
    }
    for page in files("packaging/man") {
        let section = page.extension().and_then(|section| section.to_str()).expect("a section");
        same(&page, &format!("zcat /usr/share/man/man{section}/{}.gz", name(&page)));
    }
    for (shell, place) in [("bash", BASH), ("fish", FISH), ("zsh", ZSH)] {
        machine.sh(&format!("rolecall completions {shell} | cmp - {place}"));
    }
    machine.sh(&format!("bash -c '. {BASH} && complete -p rolecall'"));

    let conffiles = machine.sh("dpkg-query --show --showformat '${Conffiles}' rolecall");
    let conffiles: Vec<_> = conffiles.split_whitespace().step_by(2).collect();
    assert_eq!(conffiles, ["/etc/rolecall/rolecall.toml"]);
    let listed =
        "dpkg --listfiles rolecall | while read -r f; do test ! -f \"$f\" || echo \"$f\"; done";
    // Programs alone can be run, and nothing belongs to anybody but root.
    let modes = machine.sh(&format!("stat --format '%U:%G %a %n' $({listed})"));
    for line in modes.lines() {
        let path = line.rsplit(' ').next().unwrap_or_default();
        let folders = ["/usr/share/rolecall/hooks/", "/usr/share/rolecall/checkmk/"];
        let runs =
            path == "/usr/bin/rolecall" || folders.iter().any(|folder| path.starts_with(folder));
        let mode = if runs { 755 } else { 644 };
        assert_eq!(line, format!("root:root {mode} {path}"));
    }
    println!("  {count} files are those of the repository, of {} in all", modes.lines().count());
}
