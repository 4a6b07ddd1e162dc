//! rolecall.toml.

#![no_main]

use rolecall::config::schema::{Flags, MAX_FILE, read};
use rolecall_fuzz::{one_line, target, text};

target!(|data| {
    let text = text(data);
    if text.len() as u64 > MAX_FILE {
        return;
    }
    let loaded = match read("rolecall.toml", text, &Flags::default(), None) {
        Ok(loaded) => loaded,
        Err(problems) => {
            // A hundred, and one that says how many follow.
            assert!(!problems.is_empty() && problems.len() <= 101, "{}", problems.len());
            let lines = text.split('\n').count();
            for problem in problems {
                let shown = problem.to_string();
                assert_eq!(shown.split('\n').count(), 3, "{shown:?}");
                shown.split('\n').for_each(one_line);
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{shown}");
            }
            return;
        }
    };
    let again = read("rolecall.toml", text, &Flags::default(), None);
    assert_eq!(again.as_ref(), Ok(&loaded));
    let config = &loaded.config;
    assert!(!config.nodes.is_empty() && !config.services.is_empty());
    let routes = config.routes();
    for (listen, _) in config.listens() {
        assert!(listen.port() > 0);
        let _ = listen.candidates().into_iter().map(|addr| routes.at(addr)).count();
    }
    for node in &config.nodes {
        one_line(&node.name);
        for source in &node.sources {
            assert!(!source.interval.is_zero() && !source.timeout.is_zero(), "{source:?}");
            let _ =
                (source.life(), source.electorate(), source.rhythm().least_settle(&config.haproxy));
        }
        for service in &config.services {
            let policy = service.policy(node);
            assert_eq!(policy.trust.len(), node.sources.len());
        }
    }
    for warning in &loaded.warnings {
        one_line(&warning.to_string());
        one_line(warning.hint());
    }
});
