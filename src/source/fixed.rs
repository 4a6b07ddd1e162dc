//! A role that is always the same: for a first try, a drill, or a server that is no PostgreSQL.

use crate::look::error::SourceError;
use crate::look::observation::Observation;
use crate::look::role::Role;
use crate::source::role_source::RoleSource;

/// Always this role; no look of it fails.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(pub Role);

impl RoleSource for Fixed {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        Ok(Observation::of(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_what_it_was_told_to_be() {
        for role in crate::look::role::ROLES {
            assert_eq!(Fixed(role).observe().await, Ok(Observation::of(role)));
        }
    }
}
