//! What does not fit between a HAProxy and rolecall: the kinds, and one finding.

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

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

/// One thing that does not fit. As JSON it has a `reason` as every other word of a status has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A pool, POOL/SERVER, or HAProxy itself.
    pub about: String,
    /// Which kind it is.
    pub kind: Mismatch,
    /// In a whole sentence.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
    /// How much it wants a person; `None`: it is only good to know.
    pub alarm: Option<Alarm>,
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut finding = to.serialize_struct("Finding", 5)?;
        finding.serialize_field("about", &self.about)?;
        finding.serialize_field("reason", self.kind.label())?;
        finding.serialize_field("detail", &self.detail)?;
        finding.serialize_field("hint", &self.hint)?;
        finding.serialize_field("alarm", &self.alarm.map(Alarm::as_str))?;
        finding.end()
    }
}
