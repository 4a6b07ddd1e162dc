//! The manual as committed, and the completions as a shell uses them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

fn rolecall(arguments: &[&str]) -> String {
    let output = Command::new(ROLECALL).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every page by its file's name, as the program prints it.
fn pages() -> BTreeMap<String, String> {
    let pages = rolecall::cli::manual::pages(&rolecall::cli::definition());
    let page = |name: String| {
        let text = match name.strip_prefix("rolecall-") {
            Some(command) => rolecall(&["man", command]),
            None if name == "rolecall" => rolecall(&["man"]),
            None => rolecall(&["man", &name]),
        };
        (rolecall::cli::manual::file(&name), text)
    };
    pages.into_iter().map(page).collect()
}

#[test]
fn the_committed_pages_are_those_of_this_command_line() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/man");
    let pages = pages();
    assert!(pages.contains_key("rolecall.8") && pages.contains_key("rolecall-run.8"));
    if std::env::var_os("ROLECALL_WRITE_MAN").is_some() {
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir(&dir).unwrap();
        for (name, text) in &pages {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }
    let files = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path());
    let committed: BTreeMap<_, _> = files
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(committed == pages, "packaging/man is not what this command line says; hint: make man");
}

#[test]
fn every_page_ends_with_examples_and_exit_codes() {
    for (name, text) in pages() {
        for section in [".SH EXAMPLES\n", ".SH \"EXIT STATUS\"\n", ".SH \"SEE ALSO\"\n"] {
            assert_eq!(text.matches(section).count(), 1, "{name}: {section}");
        }
    }
}

/// A key of the packaged file that the page of the configuration lacks would be one that nobody finds.
#[test]
fn the_page_of_the_configuration_has_every_section_and_key_of_the_packaged_file() {
    let page = rolecall(&["man", "rolecall.toml"]);
    let packaged = include_str!("../../packaging/rolecall.toml");
    let mut count = 0;
    for line in packaged.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') && line.ends_with(']') {
            assert!(page.contains(&format!(".SS \"{line}\"")), "{line}");
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !line.contains("\": ")
        {
            assert!(page.contains(&format!(".TP\n\\fB{key}\\fR (")), "{key}");
            count += 1;
        }
    }
    assert!(count > 50, "{count} keys");
}

#[test]
fn a_command_without_a_page_is_a_usage_error_that_names_the_commands() {
    let output = Command::new(ROLECALL).args(["man", "rnu"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("\"rnu\"") && said.contains("run, check"), "{said}");
}

/// What bash offers after `line`, whose last word is being typed.
fn bash_offers(line: &str) -> Vec<String> {
    let script = r#"
        source /dev/stdin
        read -ra COMP_WORDS <<<"$1"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _rolecall rolecall "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash", line]);
    let mut bash = bash
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("bash");
    let stdin = bash.stdin.take().unwrap();
    std::io::Write::write_all(&mut &stdin, rolecall(&["completions", "bash"]).as_bytes()).unwrap();
    drop(stdin);
    let output = bash.wait_with_output().unwrap();
    assert!(output.status.success(), "{line}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    assert_eq!(bash_offers("rolecall che"), ["check"]);
    assert_eq!(bash_offers("rolecall run --conn"), ["--conninfo"]);
    assert!(bash_offers("rolecall completions z").contains(&"zsh".to_owned()));
}

#[test]
fn zsh_and_fish_have_completions_too() {
    assert!(rolecall(&["completions", "zsh"]).starts_with("#compdef rolecall"));
    assert!(rolecall(&["completions", "fish"]).contains("complete -c rolecall"));
}
