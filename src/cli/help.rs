//! The help of the command line, broken into lines: a terminal breaks them in the middle of a word, and
//! inside the column of the flags.

use clap::{Arg, Command};

use crate::config::kind::KINDS;

/// Columns of the narrowest terminal that is usual.
const COLUMNS: usize = 80;
/// Least columns for a text beside its flag.
const LEAST: usize = 40;

/// The same command line with its help in lines.
pub(crate) fn wrapped(command: Command) -> Command {
    let about = command.get_about().map(|about| lines(&about.to_string(), COLUMNS));
    let left = widest(&command);
    let names = command.get_subcommands().map(|command| command.get_name().len()).max();
    let beside = room(names.unwrap_or(0) + 4);
    let command = match about {
        Some(about) => command.about(about),
        None => command,
    };
    let command = command.mut_args(|arg| match arg.get_help().map(ToString::to_string) {
        Some(help) => arg.help(lines(&help, room(left))),
        None => arg,
    });
    command.mut_subcommands(|command| {
        // The list of commands shows the same text beside their names.
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        wrapped(command).about(lines(&about, beside))
    })
}

/// The help of the flag that names the kind of the source.
pub(crate) fn kinds() -> String {
    let words: Vec<&str> = KINDS.iter().map(|kind| kind.profile.word).collect();
    let (last, others) = words.split_last().unwrap_or((&"", &[]));
    let kinds = format!("{} or {last}", others.join(", "));
    format!("Kind of the only source: {kinds}. Replaces every [source] of the file")
}

/// The most columns before a help, of the command and of those below it: they show its flags too.
fn widest(command: &Command) -> usize {
    let own = command.get_arguments().map(width);
    own.chain(command.get_subcommands().map(widest)).max().unwrap_or(0)
}

/// Columns before the help of a flag: its indentation, itself, its value and two blanks.
fn width(arg: &Arg) -> usize {
    let long = arg.get_long().map_or(0, |long| 4 + "--".len() + long.len());
    let values = arg.get_value_names().unwrap_or_default();
    let takes = arg.get_action().takes_values() || long == 0;
    let value = values.first().map_or(arg.get_id().as_str().len(), |name| name.len());
    // A value that may be left out stands in brackets.
    let optional = arg.get_num_args().is_some_and(|count| takes && count.min_values() == 0);
    2 + long + if takes { value + 3 } else { 0 } + if optional { 2 } else { 0 } + 2
}

fn room(before: usize) -> usize {
    COLUMNS.saturating_sub(before).max(LEAST)
}

/// A text in lines of so many columns, broken at blanks.
fn lines(text: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let long = word.chars().count();
        if used > 0 && used + 1 + long > columns {
            out.push('\n');
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += long;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_any_help_is_wider_than_a_terminal() {
        let mut cli = wrapped(crate::cli::definition());
        cli.build();
        let mut commands: Vec<Command> = cli.get_subcommands().cloned().collect();
        commands.push(cli);
        for mut command in commands {
            for help in [command.render_help(), command.render_long_help()] {
                for line in help.to_string().lines() {
                    let wide = line.chars().count();
                    // What clap adds behind a text, such as the default and the variable, is beside it.
                    assert!(wide <= COLUMNS || line.contains('['), "{wide} columns: {line}");
                    assert!(wide <= 100, "{wide} columns: {line}");
                }
            }
        }
    }

    #[test]
    fn a_line_is_broken_at_blanks_alone() {
        assert_eq!(lines("one two three", 7), "one two\nthree");
        assert_eq!(lines("a-word-that-is-too-long it", 7), "a-word-that-is-too-long\nit");
        assert_eq!(lines("", 7), "");
    }
}
