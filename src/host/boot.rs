//! Which boot of the host this is.

/// The environment variable in which a service manager says which boot this is: the sandbox of the
/// packaged unit hides the kernel's own file.
pub(crate) const BOOT_ID: &str = "ROLECALL_BOOT_ID";

/// Which boot this is, by the kernel or else by the service manager; `None` where neither says it.
pub(crate) fn id() -> Option<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let id = kernel.or_else(|| std::env::var(BOOT_ID).ok())?;
    // systemd writes it without the hyphens.
    let id: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    (id.len() == 32).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel writes it with hyphens, systemd without: a record must outlive a change of the reader.
    #[test]
    fn the_boot_is_told_as_32_digits() {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(id(), Some(kernel.trim_end().replace('-', "")));
    }
}
