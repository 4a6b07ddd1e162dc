//! The sections EXAMPLES and EXIT STATUS of each manual page.

/// What a page says at its end.
pub(crate) struct Ends {
    /// Commands, each with what it does.
    pub examples: &'static [(&'static str, &'static str)],
    /// Exit codes, each with its meaning.
    pub exits: &'static [(&'static str, &'static str)],
}

const USAGE: (&str, &str) = ("64", "The command line is wrong.");
const CONFIG: (&str, &str) = ("78", "The configuration is wrong. Each error is listed.");
const PERMISSION: (&str, &str) = (
    "77",
    "The user may not use the control socket: run the command as root or as a member of `group`.",
);

/// Exit codes of an order.
const OF_ORDER: &[(&str, &str)] = &[
    ("0", "The order is in effect, or is removed."),
    ("64", "The command line is wrong, or rolecall refuses the order."),
    ("69", "rolecall does not run, or cannot write the order file."),
    PERMISSION,
    CONFIG,
];

/// The ends of all pages; `None`: that of rolecall itself.
const PAGES: &[(Option<&str>, Ends)] = &[
    (
        None,
        Ends {
            examples: &[
                (
                    "rolecall run --source static --role primary",
                    "Answer READY on port 5555, for a first trial.",
                ),
                ("rolecall check", "Check /etc/rolecall/rolecall.toml before a reload."),
                ("rolecall status", "Show what HAProxy is answered, and why."),
            ],
            exits: &[
                ("0", "Success; of \\fBask\\fR: ready; of \\fBstatus\\fR: OK."),
                (
                    "1, 2",
                    "Of \\fBask\\fR: not ready, unknown. Of \\fBstatus\\fR: warning, critical.",
                ),
                ("3", "Of \\fBstatus\\fR: the daemon cannot be reached."),
                USAGE,
                (
                    "69",
                    "Something outside is missing: an address in use, a service that does not answer.",
                ),
                ("70", "rolecall itself failed."),
                ("77", "The operating system does not allow it."),
                ("78", "The configuration is wrong."),
            ],
        },
    ),
    (
        Some("run"),
        Ends {
            examples: &[
                ("systemctl start rolecall", "Run the daemon under the packaged unit."),
                (
                    "rolecall run",
                    "Run it in the foreground, with /etc/rolecall/rolecall.toml or the defaults.",
                ),
                (
                    "rolecall run --source patroni --url http://10.0.0.1:8008 --listen 6001",
                    "Run it without a file.",
                ),
            ],
            exits: &[
                ("0", "The daemon was stopped by a signal."),
                USAGE,
                ("69", "A port or socket cannot be opened, or the journal does not answer."),
                ("70", "rolecall itself failed; systemd starts it again."),
                ("77", "The operating system does not allow a port or socket."),
                CONFIG,
            ],
        },
    ),
    (
        Some("check"),
        Ends {
            examples: &[
                (
                    "rolecall check && systemctl reload rolecall",
                    "Reload only a valid configuration.",
                ),
                ("rolecall check --config new.toml", "Check another file."),
            ],
            exits: &[("0", "The configuration is valid; there may be warnings."), USAGE, CONFIG],
        },
    ),
    (
        Some("ask"),
        Ends {
            examples: &[
                ("rolecall ask", "Explain every service of every node."),
                ("rolecall ask primary/pg1", "Explain one service of one node."),
                ("rolecall ask --json | jq .services", "Read the result with a program."),
            ],
            exits: &[("0", "Ready."), ("1", "Not ready."), ("2", "Unknown."), USAGE, CONFIG],
        },
    ),
    (
        Some("status"),
        Ends {
            examples: &[
                ("rolecall status", "Show the state of every service, and every order."),
                ("rolecall status --json | jq .nodes", "Read it with a program."),
            ],
            exits: &[
                ("0", "OK."),
                ("1", "Warning: an order, failed polls, lag, or no agent check."),
                (
                    "2",
                    "Critical: nothing is known of a node, several nodes may accept writes, or none does.",
                ),
                ("3", "The daemon cannot be reached."),
                USAGE,
            ],
        },
    ),
    (
        Some("history"),
        Ends {
            examples: &[
                ("rolecall history", "Show the last changes of every service of every node."),
                ("rolecall history --since 2h", "Show what changed in the last two hours."),
            ],
            exits: &[
                ("0", "Success."),
                USAGE,
                ("69", "The daemon cannot be reached."),
                PERMISSION,
                CONFIG,
            ],
        },
    ),
    (
        Some("ready"),
        Ends {
            examples: &[(
                "rolecall ready replica/pg2 --for 10m --reason \"Patroni upgrade\"",
                "Keep a replica in service while its Patroni is stopped.",
            )],
            exits: OF_ORDER,
        },
    ),
    (
        Some("drain"),
        Ends {
            examples: &[(
                "rolecall drain replica/pg2 --for 1h --reason \"new kernel\"",
                "Let sessions end by themselves before a reboot.",
            )],
            exits: OF_ORDER,
        },
    ),
    (
        Some("maint"),
        Ends {
            examples: &[
                (
                    "rolecall maint all --for 2h --reason \"disk swap\"",
                    "Take this host out of service.",
                ),
                (
                    "rolecall maint pg2",
                    "Take one of several nodes out of service until \\fBauto\\fR.",
                ),
            ],
            exits: OF_ORDER,
        },
    ),
    (
        Some("auto"),
        Ends {
            examples: &[("rolecall auto all", "Remove the order that was given for \\fIall\\fR.")],
            exits: OF_ORDER,
        },
    ),
    (
        Some("poke"),
        Ends {
            examples: &[
                ("rolecall poke", "Poll all nodes now."),
                (
                    "rolecall poke || true",
                    "The same in a hook, which must not fail if rolecall does not run.",
                ),
            ],
            exits: &[
                ("0", "The daemon was asked to poll."),
                USAGE,
                ("69", "No daemon is running."),
                ("77", "The socket may not be used."),
                CONFIG,
            ],
        },
    ),
    (
        Some("haproxy"),
        Ends {
            examples: &[
                (
                    "rolecall haproxy > /etc/haproxy/haproxy.cfg",
                    "Write a configuration for this cluster.",
                ),
                (
                    "rolecall haproxy --haproxy-version 3.0 --port 6000",
                    "For HAProxy 3.0, with client ports from 6000.",
                ),
            ],
            exits: &[
                (
                    "0",
                    "The configuration was printed; members without an address are named on stderr.",
                ),
                ("64", "The command line is wrong, or the ports do not fit."),
                ("69", "Patroni or repmgr does not answer, or has no members yet."),
                ("78", "The configuration is wrong, or its sources do not know the members."),
            ],
        },
    ),
    (
        Some("completions"),
        Ends {
            examples: &[(
                "rolecall completions bash > /etc/bash_completion.d/rolecall",
                "Install the completions for bash.",
            )],
            exits: &[("0", "Success."), USAGE],
        },
    ),
    (
        Some("man"),
        Ends {
            examples: &[
                ("rolecall man | man -l -", "Show rolecall(8)."),
                ("rolecall man rolecall.toml | man -l -", "Show rolecall.toml(5)."),
            ],
            exits: &[("0", "Success."), ("64", "There is no such page.")],
        },
    ),
];

/// The end of the page of a command; `None`: that of rolecall itself.
pub(crate) fn of(command: Option<&str>) -> Option<&'static Ends> {
    PAGES.iter().find(|(of, _)| *of == command).map(|(_, ends)| ends)
}
