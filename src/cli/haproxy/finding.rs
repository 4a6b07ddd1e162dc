//! What does not fit between a HAProxy and rolecall: the kinds, and one finding.

use serde::Serialize;

use crate::verdict::reason::Alarm;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $label:literal;)*) => {
        /// What does not fit. Labels never change once released.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mismatch { $($(#[$doc])* $kind,)* }

        impl Mismatch {
            /// Every kind, in the order of docs/haproxy.md.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The word for it.
            pub fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }
        }
    };
}

kinds! {
    /// No pool of this HAProxy asks this rolecall.
    NoPool => "no_pool";
    /// Several servers take connections in a pool for writes.
    SeveralUp => "several_up";
    /// No server of a pool takes connections.
    NobodyUp => "nobody_up";
    /// A server asks for another service than its pool is for.
    WrongService => "wrong_service";
    /// A server asks about another node than the one of its name.
    WrongNode => "wrong_node";
    /// A server asks at a port at which this rolecall answers nobody.
    WrongPort => "wrong_port";
    /// A server of a pool has no agent check.
    NoAgentCheck => "no_agent_check";
    /// Somebody disabled the agent check of a server.
    AgentDisabled => "agent_disabled";
    /// HAProxy gets no answer from the agent of a server.
    AgentSilent => "agent_silent";
    /// HAProxy does not understand an answer.
    NotUnderstood => "not_understood";
    /// A server is DOWN by its agent, which said no such word.
    AgentDown => "agent_down";
    /// The name of a server has no address.
    Unresolved => "unresolved";
    /// A server is not in the state that rolecall's answer means.
    StaleState => "stale_state";
    /// rolecall says READY, and HAProxy's health check fails.
    CheckFails => "check_fails";
    /// This HAProxy is older than any that rolecall is tested with.
    OldVersion => "old_version";
    /// This version of HAProxy has a fault that matters here.
    KnownFault => "known_fault";
}

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A pool, POOL/SERVER, or HAProxy itself.
    pub about: String,
    /// Which kind it is.
    #[serde(rename = "reason", serialize_with = "label")]
    pub kind: Mismatch,
    /// In a whole sentence.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
    /// How much it wants a person; `None`: it is only good to know.
    #[serde(serialize_with = "alarm")]
    pub alarm: Option<Alarm>,
}

fn label<S: serde::Serializer>(kind: &Mismatch, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind.label())
}

#[expect(clippy::ref_option, reason = "serde hands a reference to the field")]
fn alarm<S: serde::Serializer>(alarm: &Option<Alarm>, to: S) -> Result<S::Ok, S::Error> {
    alarm.map(Alarm::as_str).serialize(to)
}
