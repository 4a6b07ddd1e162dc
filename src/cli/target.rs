//! What `ask` and `poke` are asked about, by the names of the configuration.

use crate::config::{Config, LOCAL};
use crate::host::failure::{Exit, Failure};
use crate::host::own_name;

/// A target, in which the host's name means the one node that has no other.
pub(crate) fn meant(target: &str, config: &Config) -> String {
    let nodes: Vec<_> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    own_name::meant(target, &nodes, LOCAL)
}

/// `SERVICE` or `SERVICE/NODE`, both of which are there.
pub(crate) struct Target<'a> {
    pub service: &'a str,
    pub node: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub fn read(target: &'a str, config: &Config) -> Result<Self, Failure> {
        let (service, node) =
            target.split_once('/').map_or((target, None), |(service, node)| (service, Some(node)));
        let services: Vec<_> = config.services.iter().map(|s| s.name.as_str()).collect();
        if !services.contains(&service) {
            let known = services.join(", ");
            return Err(Failure::new(
                Exit::Usage,
                format_args!("the configuration has no service {service:?}"),
            )
            .hint(format_args!("the services are {known}")));
        }
        node.map(|node| known_node(node, config)).transpose()?;
        Ok(Self { service, node })
    }
}

/// Refuses a name that no node has.
pub(crate) fn known_node(node: &str, config: &Config) -> Result<(), Failure> {
    let nodes: Vec<_> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    if nodes.contains(&node) {
        return Ok(());
    }
    let known = nodes.join(", ");
    Err(Failure::new(Exit::Usage, format_args!("the configuration has no node {node:?}"))
        .hint(format_args!("the nodes are {known}")))
}
