//! What this host is called.

use crate::look::text;

/// Most bytes of a host's name (`HOST_NAME_MAX`).
const MOST: usize = 64;

/// The host's name; `None` where it has none, or one that could be taken for something else on a line.
pub fn host_name() -> Option<String> {
    let name = text::plain(&rustix::system::uname().nodename().to_string_lossy(), MOST);
    let is_word =
        !name.is_empty() && !name.contains(|sign: char| sign.is_whitespace() || sign == '/');
    is_word.then_some(name)
}

/// A target, in which the host's own name means its one node where that has no name of its own.
pub fn meant(target: &str, nodes: &[&str], unnamed: &str) -> String {
    let host = host_name();
    let is_host = |name: &str| nodes == [unnamed] && host.as_deref() == Some(name);
    match target.split_once('/') {
        Some((service, node)) if is_host(node) => format!("{service}/{unnamed}"),
        None if is_host(target) => unnamed.to_owned(),
        _ => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_name_means_its_one_node_and_nothing_else() {
        let host = host_name().unwrap();
        let of = |target: &str, nodes: &[&str]| meant(target, nodes, "local");
        assert_eq!(of(&host, &["local"]), "local");
        assert_eq!(of(&format!("primary/{host}"), &["local"]), "primary/local");
        assert_eq!(of(&host, &["pg1"]), host);
        assert_eq!(of(&host, &["local", "pg1"]), host);
        assert_eq!(of("primary", &["local"]), "primary");
        assert_eq!(of("primary/pg1", &["local"]), "primary/pg1");
    }
}
