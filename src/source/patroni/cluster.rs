//! What `rolecall haproxy` asks a Patroni: who else is in its cluster.

use std::time::Duration;

use tokio::time::timeout;

use crate::host::failure::{Exit, Failure};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::measure;
use crate::source::members::{Member, Members, Reached, unavailable};
use crate::source::patroni::Patroni;
use crate::source::patroni::members::Member as Listed;

/// Longest wait for `/cluster`, which asks the consensus store. Somebody waits at a terminal.
const WITHIN: Duration = Duration::from_secs(5);

const FROM: &str = "Patroni's /cluster";

impl Patroni {
    /// The members that say where they are.
    pub(super) async fn cluster(&mut self) -> Result<Members, Failure> {
        let mut members = Members { from: FROM, servers: Vec::new(), left_out: Vec::new() };
        for Listed { name, host, port, .. } in self.listed().await? {
            match host {
                Some(host) => members.servers.push(Member { name, at: (host, port) }),
                None => members
                    .left_out
                    .push(format!("member {name:?} has not published its address in Patroni yet")),
            }
        }
        Ok(members)
    }

    /// Where clients reach the node of this Patroni: the member at the same URL, else the one of the node's name.
    pub(super) async fn own_place(&mut self, node: &str) -> Result<Reached, Failure> {
        let members = self.listed().await?;
        let own = members.iter().find(|member| member.is_at(self.url.as_str()));
        let own = own.or_else(|| members.iter().find(|member| member.name == node));
        own.and_then(|own| Some((own.host.clone()?, own.port))).ok_or_else(|| {
            let what = format_args!(
                "node {node}: {FROM} lists no member with the `url` or the name of this node that \
                 has an address of PostgreSQL"
            );
            let hint = "name the node like its member, or use the `url` that Patroni publishes \
                        for it";
            Failure::new(Exit::Config, what).hint(hint)
        })
    }

    async fn listed(&mut self) -> Result<Vec<Listed>, Failure> {
        let asked = timeout(WITHIN, self.ask_members()).await.unwrap_or_else(|_| {
            let within = measure::time(WITHIN);
            Err(SourceError::new(ErrorKind::Timeout, format_args!("no answer within {within}")))
        });
        asked.map_err(|error| unavailable(FROM, &error))
    }
}
