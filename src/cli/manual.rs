//! The manual and the shells' completions, made from the command line's own definition, so that
//! neither can say anything else.

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Section of the manual: programs of system administrators.
const SECTION: &str = "8";

/// What rolecall(8) says beside the commands, in the macros of man(7).
const MORE: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
Success; of \fBask\fR: ready.
.TP
\fB1\fR, \fB2\fR
Of \fBask\fR: not ready, unknown.
.TP
\fB64\fR
The command line is wrong.
.TP
\fB69\fR
Something outside is missing: an address in use, a service that does not answer.
.TP
\fB70\fR
rolecall itself failed.
.TP
\fB77\fR
The operating system does not allow it.
.TP
\fB78\fR
The configuration is wrong.
.SH SIGNALS
.TP
\fBSIGHUP\fR
Reads the configuration again. One that is not valid changes nothing and is named in the log.
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
Answers who already waits, closes the ports and ends.
.SH FILES
.TP
\fI/etc/rolecall/rolecall.toml\fR
The configuration. Its comments tell every key with its default.
.TP
\fI/run/rolecall\fR
What is kept over a restart, not over a boot.
.TP
\fI/usr/share/doc/rolecall\fR
Documents, and complete configurations of HAProxy.
.SH "SEE ALSO"
\fBhaproxy\fR(1), \fBsystemctl\fR(1), \fBjournalctl\fR(1)
"#;

/// The names of the pages: `rolecall`, and `rolecall-COMMAND` for every command.
pub fn pages(cli: &Command) -> Vec<String> {
    let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = shown.map(|command| format!("{}-{}", cli.get_name(), command.get_name()));
    std::iter::once(cli.get_name().to_owned()).chain(commands).collect()
}

/// The page of rolecall, or of one of its commands, as man(7) source; `None`: there is no such
/// command.
///
/// # Errors
/// None that is known: it is written to memory.
pub fn page(cli: Command, command: Option<&str>) -> io::Result<Option<String>> {
    let source = format!("{} {}", cli.get_name(), cli.get_version().unwrap_or_default());
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
    Ok(Some(if command.is_none() { text + MORE } else { text }))
}

/// What the shell must read to complete rolecall's commands and flags.
pub fn completions(mut cli: Command, shell: Shell) -> String {
    let name = cli.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
