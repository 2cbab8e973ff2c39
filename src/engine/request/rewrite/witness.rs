//! [`Witness`]: an observer of a rewrite. For each header and query parameter it receives the rule of a file that
//! decided, or the engine's reason.
//!
//! `explain` and tests observe; requests run with `()`, which compiles to nothing.

use http::HeaderName;

/// Observes the rewrite of a head.
pub trait Witness {
    /// A decision about a header. The last one for a name counts.
    fn header(&mut self, _name: &HeaderName, _fate: Fate) {}
    /// A decision about a query parameter, by its decoded name.
    fn query(&mut self, _name: &str, _fate: Fate) {}
}

impl Witness for () {}

/// The decision about a header or a query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Sent upstream as the client sent it: no rule applies.
    Kept,
    /// The engine dropped the client's value.
    Dropped(Reason),
    /// The engine set it.
    Engine(EngineHeader),
    /// A rule of a file applied.
    Ruled(Rule),
}

/// The engine's reason to drop a client's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The engine controls framing and connection itself.
    Managed,
    /// It holds a token or a session, or overrides the path or method that was allowed.
    Stripped,
    /// It reveals the client's address or page, and no `headers.pass` allows it.
    Unpassed,
    /// The provider's file sets it.
    Claimed,
    /// A client may put its gateway token there.
    TokenLocation,
    /// The client's `Connection` names it.
    Nominated,
    /// It holds the caller's token, where no file expects one.
    CallerToken,
}

/// A header that the engine sets itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineHeader {
    /// `Host`: the destination.
    Host,
    /// `TE` and `Connection`: the client takes trailers.
    Trailers,
    /// The handshake of a WebSocket.
    Handshake,
    /// `Sec-WebSocket-Protocol`: the items that hold no token of the client.
    Subprotocols,
}

/// A rule, by its place in the bound provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its table.
    pub table: RuleTable,
    /// Its list in the table.
    pub kind: RuleKind,
    /// Its position in the list.
    pub index: usize,
}

/// The tables that hold rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleTable {
    /// The provider's `headers`.
    Provider,
    /// The endpoint's `headers`, or its `query`.
    Endpoint,
    /// The `[[auth]]` entry of the chosen credential.
    Auth,
    /// The `headers` of the overlay with this index.
    Overlay(usize),
}

/// The effect of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Allows a header that the engine would drop.
    Pass,
    /// Removes.
    Remove,
    /// Adds a value if the client sent none.
    Default,
    /// Sets, and replaces any earlier value.
    Set,
    /// Adds members to a list, and keeps those that are there.
    Add,
}

impl RuleTable {
    pub(super) fn rule(self, kind: RuleKind, index: usize) -> Fate {
        Fate::Ruled(Rule { table: self, kind, index })
    }
}
