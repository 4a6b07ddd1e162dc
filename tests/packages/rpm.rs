//! The RPM, in the same machine after the Debian package is gone. Debian's rpm knows nothing of the
//! machine's other packages, so dependencies are not looked at.

use std::collections::BTreeMap;

use crate::deb::PEER;
use crate::host::{Host, all_ready, hear};

const ANSWERS: usize = 100;

/// Path, contents and mode of every file below a folder. Paths as the RPM has them, pages of the
/// manual as they are before they are packed.
const LISTED: &str = r#"
    cd "$1" && find . -type f | while read -r file; do
        path=${file#.}
        case $path in
        */changelog.Debian.gz | */copyright | /usr/share/lintian/*) continue ;;
        */LICENSE-*) continue ;;
        *.gz) sum=$(zcat "$file" | sha256sum) path=${path%.gz} ;;
        *) sum=$(sha256sum <"$file") ;;
        esac
        path=$(echo "$path" | sed 's|/zsh/vendor-completions/|/zsh/site-functions/|')
        echo "$path $sum $(stat --format %a "$file")"
    done
"#;

pub fn its_files_are_the_same(host: &Host) {
    let machine = &host.machine;
    machine.sh("mkdir /tmp/deb /tmp/rpm && dpkg-deb -x /mnt/share/new.deb /tmp/deb
         cd /tmp/rpm && rpm2archive - </mnt/share/new.rpm 2>/dev/null | tar -xz");
    let listed = |folder: &str| -> BTreeMap<String, String> {
        let said = machine.sh(&format!("set -- {folder}\n{LISTED}"));
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(path, rest)| (path.to_owned(), rest.to_owned())).collect()
    };
    let (deb, rpm) = (listed("/tmp/deb"), listed("/tmp/rpm"));
    assert!(deb.contains_key("/usr/bin/rolecall") && deb.len() > 10, "{deb:#?}");
    assert_eq!(deb, rpm, "the packages hold different files");
    machine.sh("rm -r /tmp/deb /tmp/rpm");
    println!("  rpm: its {} files are those of the Debian package", rpm.len());
}

pub fn installed_upgraded_and_removed(host: &Host) {
    let machine = &host.machine;
    machine.sh("rpm --install --nodeps /mnt/share/old.rpm");
    machine.sh("id rolecall && rpm --verify --nodeps rolecall");
    host.refuses();
    assert_eq!(machine.sh("stat --format '%U:%G %a' /var/lib/rolecall"), "rolecall:rolecall 750");
    machine.sh("systemctl enable --now rolecall.socket rolecall.service");
    host.says("MAINT\n");
    host.configure(PEER);
    machine.sh("systemctl reload rolecall.service");
    host.says("READY\n");

    let (pid, answers) = (machine.daemon(), host.checker());
    hear(&answers, ANSWERS);
    machine.sh("rpm --upgrade --nodeps /mnt/share/new.rpm");
    hear(&answers, ANSWERS);
    assert_ne!(machine.daemon(), pid, "the daemon of the older package runs on");
    assert!(machine.sh("cat /etc/rolecall/rolecall.toml").contains("/run/postgresql"), "not kept");
    let (asked, slowest) = all_ready(&answers.stop());
    println!("  rpm: an upgrade: {asked} answers, all READY, slowest {slowest:.0?}");

    let (pid, answers) = (machine.daemon(), host.checker());
    host.configure(&PEER.replace("roles =", "rolls ="));
    let said = machine.sh("rpm --upgrade --replacepkgs --nodeps /mnt/share/new.rpm 2>&1");
    assert!(said.contains("is not restarted") && said.contains("rolls"), "{said}");
    hear(&answers, ANSWERS);
    assert_eq!(machine.daemon(), pid, "it was restarted into a configuration it refuses");
    all_ready(&answers.stop());

    machine.sh("rpm --erase rolecall");
    host.refuses();
    machine.sh("test ! -e /usr/bin/rolecall && test ! -e /etc/rolecall/rolecall.toml");
    let units = machine.said("systemctl list-unit-files --no-legend 'rolecall*'");
    assert_eq!(units, "", "units are left");
}
