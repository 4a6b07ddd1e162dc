//! By what name each part of the page is linked: by its place alone, never by a name from outside.

use crate::report::page::html::Html;

/// Where on the page something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A service of a node.
    Service(usize, usize),
    /// A node.
    Node(usize),
    /// What is about no single node.
    Section(&'static str),
}

impl Place {
    /// The name of the place.
    pub(crate) fn anchor(self, out: &mut Html) {
        match self {
            Self::Service(node, service) => service_id(out, node, service),
            Self::Node(node) => node_id(out, node),
            Self::Section(section) => _ = out.raw(section),
        }
    }
}

/// By which a node is linked.
pub(crate) fn node_id(out: &mut Html, node: usize) {
    out.raw("n").count(node);
}

/// By which a service of a node is linked.
pub(crate) fn service_id(out: &mut Html, node: usize, service: usize) {
    node_id(out, node);
    out.raw("s").count(service);
}
