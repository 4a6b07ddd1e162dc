//! The manual and the shells' completions, made from the command line's own definition, so that
//! neither can say anything else.

use std::fmt::Write as _;
use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::examples::{self, Ends};
use crate::cli::manual_toml;
use crate::cli::roff::roff;

/// Section of the manual: programs of system administrators.
const SECTION: &str = "8";

/// What rolecall(8) says beside the commands, in the macros of man(7).
const MORE: &str = r#".SH SIGNALS
.TP
\fBSIGHUP\fR
Read the configuration again. A file that is not valid changes nothing; the log lists its errors.
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
Answer the agent checks that already wait, close the ports and end.
.SH FILES
.TP
\fI/etc/rolecall/rolecall.toml\fR
The configuration: \fBrolecall.toml\fR(5).
.TP
\fI/run/rolecall\fR
What rolecall keeps over a restart, but not over a reboot.
.TP
\fI/usr/share/doc/rolecall\fR
Documentation, and complete HAProxy configurations.
.SH "SEE ALSO"
\fBrolecall.toml\fR(5), \fBhaproxy\fR(1), \fBsystemctl\fR(1), \fBjournalctl\fR(1)
"#;

/// The page about the configuration, by the name it is asked for.
pub const OF_TOML: &str = "rolecall.toml";

/// The file of a page that has this name.
pub fn file(page: &str) -> String {
    let section = if page == OF_TOML { "5" } else { SECTION };
    format!("{page}.{section}")
}

/// The names of the pages: `rolecall`, `rolecall-COMMAND` for every command, and `rolecall.toml`.
pub fn pages(cli: &Command) -> Vec<String> {
    let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = shown.map(|command| format!("{}-{}", cli.get_name(), command.get_name()));
    let named = [cli.get_name(), OF_TOML].map(str::to_owned);
    named.into_iter().chain(commands).collect()
}

/// The page of rolecall, or of one of its commands, as man(7) source; `None`: there is no such
/// command.
///
/// # Errors
/// None that is known: it is written to memory.
pub fn page(cli: Command, command: Option<&str>) -> io::Result<Option<String>> {
    let source = format!("{} {}", cli.get_name(), cli.get_version().unwrap_or_default());
    if command == Some(OF_TOML) {
        return Ok(Some(manual_toml::page(&source)));
    }
    // Without its own `help` command, which has no page; built, so that the commands know their
    // whole names.
    let mut cli = cli.disable_help_subcommand(true);
    cli.build();
    let described = match command {
        None => cli,
        Some(name) => match cli.find_subcommand(name) {
            Some(command) => command.clone(),
            None => return Ok(None),
        },
    };
    let name = described.get_display_name().unwrap_or(described.get_name()).to_uppercase();
    let manual = "System Administration";
    let man = Man::new(described).title(&name).section(SECTION).source(source).manual(manual);
    let mut text = Vec::new();
    man.render(&mut text)?;
    // A page has no date; left out as it is by clap_mangen, the other words would move one place up.
    let undated = format!(".TH {name} {SECTION}  ");
    let text =
        String::from_utf8_lossy(&text).replacen(&undated, &undated.replace("  ", " \"\" "), 1);
    let more = match command {
        None => MORE,
        Some(_) => ".SH \"SEE ALSO\"\n\\fBrolecall\\fR(8), \\fBrolecall.toml\\fR(5)\n",
    };
    Ok(Some(text + &ends(command) + more))
}

/// The sections EXAMPLES and EXIT STATUS.
fn ends(command: Option<&str>) -> String {
    let Some(Ends { examples, exits }) = examples::of(command) else { return String::new() };
    let mut out = ".SH EXAMPLES\n".to_owned();
    // Writing to a string cannot fail.
    for (line, what) in *examples {
        let _ = writeln!(out, ".TP\n\\fB{}\\fR\n{what}", roff(line));
    }
    out.push_str(".SH \"EXIT STATUS\"\n");
    for (code, meaning) in *exits {
        let _ = writeln!(out, ".TP\n\\fB{code}\\fR\n{meaning}");
    }
    out
}

/// What the shell must read to complete rolecall's commands and flags.
pub fn completions(mut cli: Command, shell: Shell) -> String {
    let name = cli.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
