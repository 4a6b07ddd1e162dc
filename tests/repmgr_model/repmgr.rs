//! What repmgr, its daemons and an operator with its commands do to the cluster.

use crate::cluster::{Cluster, Event, Host, Id, Kind, Row, change, named};

impl Cluster {
    pub fn by_repmgr(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Failure(id) => self.report(id, false),
            Event::Recovery(id) => self.report(id, true),
            Event::Elect(id) => {
                self.wins(id).then_some(())?;
                self.promote(id, true)
            }
            Event::WriteRow(id) => {
                (self.node(id).row_due && self.writable(id)).then_some(())?;
                self.register_primary(id);
                Some(())
            }
            Event::Follow(id, to) => {
                let lost = self.node(id).repmgrd && !self.has_contact(id);
                (lost && self.node(id).upstream.is_some()).then_some(())?;
                self.follow(id, to)
            }
            Event::WitnessFollow(id, to) => {
                (self.node(id).repmgrd && !self.has_contact(id)).then_some(())?;
                self.witness_register(id, to)
            }
            Event::Sync(id) => {
                (self.witness == Some(id) && self.has_contact(id)).then_some(())?;
                let rows = self.node(self.node(id).upstream?).rows;
                change(&mut self.node_mut(id).rows, rows)
            }
            Event::Lapse(id) => {
                (self.witness == Some(id) && !self.has_contact(id)).then_some(())?;
                change(&mut self.node_mut(id).seen, false)
            }
            Event::PromoteByHand(id) => {
                (!self.sees_primary(id) && self.row(id, id).is_some()).then_some(())?;
                self.promote(id, true)
            }
            Event::PgPromote(id) => self.promote(id, false),
            Event::RegisterPrimary(id) => {
                let registered = named(&self.node(id).rows) == Some(id);
                (self.writable(id) && !registered && !self.sees_primary(id)).then_some(())?;
                self.register_primary(id);
                Some(())
            }
            Event::Rejoin(id, to) => self.rejoin(id, to),
            Event::FollowByHand(id, to) => self.follow(id, to),
            Event::WitnessRegister(id, to) => self.witness_register(id, to),
            Event::Switch(id) => self.switch(id),
            Event::Unregister(id, on) => {
                (id != on && self.writable(on)).then_some(())?;
                change(&mut self.node_mut(on).rows[usize::from(id)], None)?;
                // A host that is down when it is unregistered never comes back.
                let host = &mut self.node_mut(id).host;
                if *host == Host::Down {
                    *host = Host::Gone;
                }
                Some(())
            }
            Event::Register(id, on) => {
                let streams = self.node(id).follows == Some(on) && self.node(id).streaming;
                let unknown = self.row(on, id).is_none();
                (streams && unknown && self.answers(id, on) && self.writable(on)).then_some(())?;
                self.attach_row(id, on, on);
                self.node_mut(id).upstream = Some(on);
                Some(())
            }
            _ => None,
        }
    }

    /// A repmgrd writes on the primary whether its own PostgreSQL runs.
    fn report(&mut self, id: Id, runs: bool) -> Option<()> {
        let node = self.node(id);
        let watched = node.upstream.filter(|up| self.answers(id, *up) && self.writable(*up));
        let primary = watched.or(named(&node.rows))?;
        let own_is_primary = primary == id || (node.postgres && !node.in_recovery);
        let may_say = node.repmgrd && node.postgres == runs && node.host == Host::Up;
        let witness = self.witness == Some(id);
        (may_say && (witness || !own_is_primary)).then_some(())?;
        (self.answers(id, primary) && self.writable(primary)).then_some(())?;
        let row = self.node_mut(primary).rows[usize::from(id)].as_mut()?;
        (row.kind != Kind::Primary).then_some(())?;
        change(&mut row.active, runs)
    }

    /// repmgr's election: the upstream is lost, no writable sibling is in sight, and more than half
    /// of the active siblings on the same upstream are visible, this node among them. Without
    /// siblings it wins by default. Which of the visible has most WAL is left open.
    fn wins(&self, id: Id) -> bool {
        let node = self.node(id);
        let Some(upstream) = node.upstream else { return false };
        node.repmgrd && !self.answers(id, upstream) && self.can_elect(id)
    }

    /// The same of a repmgrd that has lost its upstream by its own attempts.
    pub fn can_elect(&self, id: Id) -> bool {
        let Some(upstream) = self.node(id).upstream else { return false };
        let of_primary = self.row(id, upstream).is_some_and(|row| row.kind == Kind::Primary);
        let total = self.siblings_of(id, Some(upstream)).count();
        let visible = self.visible_siblings(id).count();
        let writable = self.visible_siblings(id).any(|other| self.writable(other));
        of_primary && !writable && (total == 0 || 2 * (visible + 1) > total + 1)
    }

    /// The active nodes that its own table has on this upstream beside it.
    pub fn siblings_of(&self, id: Id, upstream: Option<Id>) -> impl Iterator<Item = Id> + use<> {
        let rows = self.node(id).rows;
        self.ids().filter(move |other| {
            *other != id
                && upstream.is_some()
                && rows[usize::from(*other)].is_some_and(|row| {
                    row.active && row.upstream == upstream && row.kind != Kind::Primary
                })
        })
    }

    /// Those of them on its own upstream that answer it.
    pub fn visible_siblings(&self, id: Id) -> impl Iterator<Item = Id> {
        self.siblings_of(id, self.node(id).upstream).filter(move |other| self.answers(id, *other))
    }

    fn promote(&mut self, id: Id, row_due: bool) -> Option<()> {
        (self.answers(id, id) && self.node(id).in_recovery).then_some(())?;
        let node = self.node_mut(id);
        node.in_recovery = false;
        node.timeline += 1;
        (node.follows, node.streaming, node.upstream) = (None, false, None);
        node.row_due = row_due;
        Some(())
    }

    fn register_primary(&mut self, id: Id) {
        let node = self.node_mut(id);
        for row in node.rows.iter_mut().flatten() {
            row.active &= row.kind != Kind::Primary;
        }
        node.rows[usize::from(id)] =
            Some(Row { kind: Kind::Primary, active: true, upstream: None });
        node.row_due = false;
    }

    /// repmgr's commands refuse while the primary of the own table is there.
    fn sees_primary(&self, id: Id) -> bool {
        named(&self.node(id).rows).is_some_and(|primary| {
            primary != id && self.answers(id, primary) && self.writable(primary)
        })
    }

    fn follow(&mut self, id: Id, to: Id) -> Option<()> {
        let node = self.node(id);
        let possible = self.answers(id, id)
            && node.in_recovery
            && node.follows != Some(to)
            && self.witness != Some(to)
            && self.answers(id, to)
            && self.node(to).timeline >= node.timeline
            && self.root(to) != id
            && to != id;
        possible.then_some(())?;
        self.stream(id, to);
        self.node_mut(id).upstream = Some(to);
        let primary = if self.writable(to) { Some(to) } else { named(&self.node(to).rows) };
        if let Some(primary) = primary
            && self.answers(id, primary)
            && self.writable(primary)
            && self.row(primary, id).is_some()
        {
            self.attach_row(id, to, primary);
        }
        Some(())
    }

    fn attach_row(&mut self, id: Id, upstream: Id, on: Id) {
        let row = Row { kind: Kind::Standby, active: true, upstream: Some(upstream) };
        self.node_mut(on).rows[usize::from(id)] = Some(row);
    }

    fn witness_register(&mut self, id: Id, on: Id) -> Option<()> {
        let possible = self.witness == Some(id)
            && self.answers(id, id)
            && self.answers(id, on)
            && self.writable(on)
            && self.node(id).upstream != Some(on);
        possible.then_some(())?;
        let row = Row { kind: Kind::Witness, active: true, upstream: Some(on) };
        self.node_mut(on).rows[usize::from(id)] = Some(row);
        let rows = self.node(on).rows;
        let node = self.node_mut(id);
        node.rows = rows;
        node.upstream = Some(on);
        node.seen = node.repmgrd;
        Some(())
    }

    /// The stopped server becomes a standby of another one. Its own table still has the old rows
    /// until it has replayed them.
    fn rejoin(&mut self, id: Id, to: Id) -> Option<()> {
        let node = self.node(id);
        let possible = node.host == Host::Up
            && !node.postgres
            && self.witness != Some(id)
            && self.answers(id, to)
            && self.writable(to)
            && self.row(to, id).is_some();
        possible.then_some(())?;
        let node = self.node_mut(id);
        (node.postgres, node.in_recovery, node.upstream) = (true, true, Some(to));
        self.stream(id, to);
        self.attach_row(id, to, to);
        Some(())
    }

    fn switch(&mut self, id: Id) -> Option<()> {
        let old = self.node(id).follows.filter(|_| self.node(id).streaming)?;
        let possible = self.answers(id, old)
            && self.answers(old, id)
            && self.writable(old)
            && self.node(id).in_recovery
            && self.node(id).timeline == self.node(old).timeline
            && named(&self.node(id).rows) == Some(old)
            && self.row(id, id).is_some();
        possible.then_some(())?;
        self.promote(id, false)?;
        self.register_primary(id);
        let node = self.node_mut(old);
        (node.in_recovery, node.upstream, node.row_due) = (true, Some(id), false);
        self.stream(old, id);
        self.attach_row(old, id, id);
        Some(())
    }
}
