//! A model of a repmgr cluster: what each server holds, who reaches whom, and what can happen next.
//!
//! Everything that takes time in a real cluster is a step of its own here (a promoted server writes
//! its row later, a receiver drops later, a table is replicated later), so that any order of them is
//! one of the walks. An event that cannot happen in a state changes nothing and says so.

/// Most nodes of a modelled cluster.
pub const MOST: usize = 5;

/// Index of a node; repmgr's number is one more.
pub type Id = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Primary,
    Standby,
    Witness,
}

/// A row of `repmgr.nodes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub kind: Kind,
    pub active: bool,
    pub upstream: Option<Id>,
}

/// A node's own copy of `repmgr.nodes`.
pub type Rows = [Option<Row>; MOST];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    Up,
    /// Every process stopped (SIGSTOP); established connections stay open.
    Frozen,
    Down,
    /// Taken away for good.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Node {
    pub host: Host,
    pub postgres: bool,
    pub in_recovery: bool,
    pub timeline: u8,
    pub rows: Rows,
    /// Whom its receiver is told to stream from.
    pub follows: Option<Id>,
    /// The receiver says it streams; it goes on saying so after its upstream is lost.
    pub streaming: bool,
    /// Its repmgrd runs and is not paused.
    pub repmgrd: bool,
    /// Whom its repmgrd watches.
    pub upstream: Option<Id>,
    /// The witness: its repmgrd reached its upstream a moment ago.
    pub seen: bool,
    /// Promoted by repmgr, which has not written the row yet.
    pub row_due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cluster {
    pub size: u8,
    pub witness: Option<Id>,
    pub nodes: [Node; MOST],
    /// Bit `8 * from + to`: `from` can open connections to `to`.
    reach: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The first can open no connection to the second.
    Cut(Id, Id),
    Heal(Id, Id),
    /// The nodes of this bit mask against all others.
    Part(u8),
    HealAll,
    /// PostgreSQL ends; its host refuses connections from then on.
    Crash(Id),
    /// PostgreSQL starts as what it was; a former primary without a rejoin.
    Start(Id),
    HostDown(Id),
    /// The host is back; PostgreSQL is not started yet.
    HostUp(Id),
    Freeze(Id),
    Thaw(Id),
    StopRepmgrd(Id),
    StartRepmgrd(Id),
    /// A repmgrd whose own PostgreSQL is down says so on the primary.
    Failure(Id),
    Recovery(Id),
    /// A repmgrd that lost its upstream is elected and promotes its server.
    Elect(Id),
    /// The row of a promoted server is written at last.
    WriteRow(Id),
    /// A repmgrd that lost its upstream follows a writable server, registered or not.
    Follow(Id, Id),
    WitnessFollow(Id, Id),
    /// The witness copies the table of its upstream.
    Sync(Id),
    /// The witness's last contact with its upstream is no longer fresh.
    Lapse(Id),
    /// The standby replays what its upstream has, the table with it.
    Replicate(Id),
    /// A receiver notices that its upstream is lost.
    Drop(Id),
    Attach(Id),
    /// `repmgr standby promote`
    PromoteByHand(Id),
    /// `pg_ctl promote`
    PgPromote(Id),
    /// `repmgr primary register --force`
    RegisterPrimary(Id),
    /// `repmgr node rejoin`
    Rejoin(Id, Id),
    /// `repmgr standby follow`, also of a standby (a cascade)
    FollowByHand(Id, Id),
    /// `repmgr witness register --force`
    WitnessRegister(Id, Id),
    /// `repmgr standby switchover`, as one step
    Switch(Id),
    /// `repmgr ... unregister` of the first, on the second
    Unregister(Id, Id),
    /// `repmgr standby register` of the first, on the second
    Register(Id, Id),
}

/// The one active primary that a table names.
pub fn named(rows: &Rows) -> Option<Id> {
    let mut primaries = (0..).zip(rows).filter_map(|(id, row)| {
        row.filter(|row| row.kind == Kind::Primary && row.active).map(|_| id)
    });
    match (primaries.next(), primaries.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn bit(from: Id, to: Id) -> u64 {
    1 << (8 * from + to)
}

impl Cluster {
    /// A healthy cluster: the first node is the primary, the last one the witness where there is one.
    pub fn healthy(size: u8, witness: bool) -> Self {
        let witness = witness.then(|| size - 1);
        let mut rows = [None; MOST];
        for id in 0..size {
            let kind = match id {
                0 => Kind::Primary,
                _ if Some(id) == witness => Kind::Witness,
                _ => Kind::Standby,
            };
            let upstream = (id != 0).then_some(0);
            rows[usize::from(id)] = Some(Row { kind, active: true, upstream });
        }
        let node = |id: usize| {
            let id = u8::try_from(id).unwrap();
            let there = id < size;
            let standby = there && id != 0 && Some(id) != witness;
            Node {
                host: if there { Host::Up } else { Host::Gone },
                postgres: there,
                in_recovery: standby,
                timeline: 1,
                rows,
                follows: standby.then_some(0),
                streaming: standby,
                repmgrd: there,
                upstream: (there && id != 0).then_some(0),
                seen: there && Some(id) == witness,
                row_due: false,
            }
        };
        Self { size, witness, nodes: std::array::from_fn(node), reach: u64::MAX }
    }

    /// As healthy, with the last standby cloned and streaming but not registered yet.
    pub fn with_a_new_clone(size: u8, witness: bool) -> Self {
        let mut cluster = Self::healthy(size, witness);
        let clone = size - 1 - u8::from(witness);
        for node in &mut cluster.nodes {
            node.rows[usize::from(clone)] = None;
        }
        cluster.node_mut(clone).upstream = None;
        cluster
    }

    pub fn ids(&self) -> std::ops::Range<Id> {
        0..self.size
    }

    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[usize::from(id)]
    }

    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[usize::from(id)]
    }

    pub fn row(&self, table_of: Id, id: Id) -> Option<Row> {
        self.node(table_of).rows[usize::from(id)]
    }

    /// Whether packets of a new connection pass.
    pub fn reaches(&self, from: Id, to: Id) -> bool {
        from == to || self.reach & bit(from, to) != 0
    }

    /// Whether a program on the first host gets an answer from the second's PostgreSQL.
    pub fn answers(&self, from: Id, to: Id) -> bool {
        let to_node = self.node(to);
        self.node(from).host == Host::Up
            && self.reaches(from, to)
            && to_node.host == Host::Up
            && to_node.postgres
    }

    fn serves(&self, id: Id) -> bool {
        self.answers(id, id)
    }

    fn is_witness(&self, id: Id) -> bool {
        self.witness == Some(id)
    }

    /// Running and out of recovery; the witness is not asked.
    pub fn writable(&self, id: Id) -> bool {
        self.serves(id) && !self.node(id).in_recovery && !self.is_witness(id)
    }

    pub fn two_writable(&self) -> bool {
        self.ids().filter(|id| self.writable(*id)).count() > 1
    }

    fn standby(&self, id: Id) -> bool {
        self.serves(id) && self.node(id).in_recovery
    }

    /// Whether the repmgrd of this node has contact with its upstream now.
    pub fn has_contact(&self, id: Id) -> bool {
        let node = self.node(id);
        node.repmgrd && node.upstream.is_some_and(|upstream| self.answers(id, upstream))
    }

    /// Whether WAL flows to this node.
    fn flows(&self, id: Id) -> bool {
        let node = self.node(id);
        self.standby(id)
            && node.follows.is_some_and(|from| {
                self.answers(id, from)
                    && !self.is_witness(from)
                    && self.node(from).timeline >= node.timeline
            })
    }

    /// Whose writes the followers of this node get in the end.
    pub fn root(&self, id: Id) -> Id {
        let mut at = id;
        for _ in 0..MOST {
            match self.node(at).follows.filter(|_| self.node(at).in_recovery) {
                Some(upstream) => at = upstream,
                None => return at,
            }
        }
        at
    }

    /// Lets the event happen; false, and nothing changed, where it cannot.
    pub fn apply(&mut self, event: Event) -> bool {
        let happened = self.happen(event).is_some();
        if let Some(witness) = self.witness.filter(|_| happened)
            && self.has_contact(witness)
        {
            self.node_mut(witness).seen = true;
        }
        happened
    }

    fn happen(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Cut(from, to) => self.link(from, to, false),
            Event::Heal(from, to) => self.link(from, to, true),
            Event::Part(mask) => self.part(mask),
            Event::HealAll => change(&mut self.reach, u64::MAX),
            Event::Crash(id) => {
                self.serves(id).then_some(())?;
                let node = self.node_mut(id);
                (node.postgres, node.streaming, node.row_due) = (false, false, false);
                Some(())
            }
            Event::Start(id) => {
                let node = self.node_mut(id);
                (node.host == Host::Up && !node.postgres).then(|| node.postgres = true)
            }
            Event::HostDown(id) => {
                let node = self.node_mut(id);
                (node.host == Host::Up).then_some(())?;
                node.host = Host::Down;
                (node.postgres, node.streaming, node.row_due) = (false, false, false);
                Some(())
            }
            Event::HostUp(id) => self.host(id, Host::Down, Host::Up),
            Event::Freeze(id) => self.host(id, Host::Up, Host::Frozen),
            Event::Thaw(id) => self.host(id, Host::Frozen, Host::Up),
            Event::StopRepmgrd(id) => change(&mut self.node_mut(id).repmgrd, false),
            Event::StartRepmgrd(id) => self.start_repmgrd(id),
            Event::Replicate(id) => {
                let from = self.node(id).follows.filter(|_| self.node(id).streaming)?;
                self.flows(id).then_some(())?;
                let Node { rows, timeline, .. } = *self.node(from);
                let node = self.node_mut(id);
                let news = node.rows != rows || node.timeline != timeline;
                news.then(|| (node.rows, node.timeline) = (rows, timeline))
            }
            Event::Drop(id) => {
                (self.node(id).streaming && !self.flows(id)).then_some(())?;
                change(&mut self.node_mut(id).streaming, false)
            }
            Event::Attach(id) => {
                (!self.node(id).streaming && self.flows(id)).then_some(())?;
                let from = self.node(id).follows?;
                self.stream(id, from);
                Some(())
            }
            _ => self.by_repmgr(event),
        }
    }

    fn link(&mut self, from: Id, to: Id, open: bool) -> Option<()> {
        (from != to).then_some(())?;
        let reach = if open { self.reach | bit(from, to) } else { self.reach & !bit(from, to) };
        change(&mut self.reach, reach)
    }

    fn part(&mut self, mask: u8) -> Option<()> {
        let inside = |id: Id| mask & (1 << id) != 0;
        let mut reach = self.reach;
        for from in self.ids() {
            for to in self.ids() {
                if inside(from) != inside(to) {
                    reach &= !bit(from, to);
                }
            }
        }
        change(&mut self.reach, reach)
    }

    fn host(&mut self, id: Id, from: Host, to: Host) -> Option<()> {
        let host = &mut self.node_mut(id).host;
        (*host == from).then(|| *host = to)
    }

    fn start_repmgrd(&mut self, id: Id) -> Option<()> {
        let upstream = self.row(id, id).and_then(|row| row.upstream);
        let node = self.node_mut(id);
        (node.host == Host::Up && !node.repmgrd).then_some(())?;
        node.repmgrd = true;
        if upstream.is_some() {
            node.upstream = upstream;
        }
        Some(())
    }

    pub fn stream(&mut self, id: Id, from: Id) {
        let timeline = self.node(from).timeline;
        let node = self.node_mut(id);
        node.follows = Some(from);
        node.streaming = true;
        node.timeline = timeline;
    }
}

/// Sets a value; `None` where it was that already.
pub fn change<T: PartialEq>(place: &mut T, value: T) -> Option<()> {
    (*place != value).then(|| *place = value)
}
