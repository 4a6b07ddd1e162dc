//! Users and groups of this host, as /etc/passwd and /etc/group have them (passwd(5), group(5)).

use std::fs;

use crate::host::failure::{Exit, Failure};

/// The name of a user; `None` where it has none here.
pub fn user(uid: u32) -> Option<String> {
    field("/etc/passwd", (2, &uid.to_string()), 0)
}

/// The number of the group that `[control]` names.
///
/// # Errors
/// There is none of this name.
pub fn group(name: &str) -> Result<u32, Failure> {
    let gid = field("/etc/group", (0, name), 2).and_then(|gid| gid.parse().ok());
    gid.ok_or_else(|| {
        let what =
            format_args!("[control] group: there is no group {name:?} in /etc/group").to_string();
        Failure::new(Exit::Config, what).hint("create the group, or set `group` to an existing one")
    })
}

/// The field `give` of the line whose field `at` is `is`.
fn field(file: &str, (at, is): (usize, &str), give: usize) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(at) == Some(&is))?;
    line.get(give).map(|field| (*field).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_group_and_others_may_have_none() {
        assert_eq!(user(0).as_deref(), Some("root"));
        assert_eq!(user(4_294_967_294), None);
        assert_eq!(group("root"), Ok(0));
        assert!(group("no-such-group").is_err_and(|failure| failure.exit == Exit::Config));
    }
}
