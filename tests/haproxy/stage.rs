//! One shipped file on one HAProxy: servers, rolecalls, clients, and what was seen of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::process::Proc;
use crate::fixtures::{
    FRONT_PORT, Ground, Haproxy, PG_PORT, Recorder, Rolecall, Sample, Server as Seen, eventually,
    names, now, sampler,
};
use crate::patterns::{FRONT, Pattern, Place, READ_PORT, role_file};
use crate::servers::{Met, Server, Visit, WITHIN, visitor};
use crate::unit;

pub const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// The version that forgets clients, as haproxy.cfg tells.
const FORGETS: &str = "3.0";
/// Enough clients to say something.
const SOME: usize = 10;

/// More than HAProxy ever needs to follow, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(30);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its server runs, and its source says this.
    Primary,
    Replica,
    /// Its server runs, its source says that it must not be used, and HAProxy may not know it yet.
    Leaving,
    /// HAProxy knows it.
    Unfit,
    /// Its server is dead, which its source says too.
    Dead,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Leaving | Self::Unfit | Self::Dead => "none",
        }
    }
}

/// What all nodes were, from a moment on.
#[derive(Debug, Clone)]
struct Cast {
    from: Stamp,
    roles: Vec<Role>,
}

/// Servers that may be shown DOWN for some time: their rolecall was dead.
struct Excuse {
    servers: Vec<String>,
    from: Stamp,
    to: Option<Stamp>,
}

/// What HAProxy was started with.
struct Started {
    program: PathBuf,
    cfg: PathBuf,
    env: Vec<(&'static str, String)>,
}

/// Everything; stopped from the top down.
pub struct Stage {
    pub writes: Recorder<Visit>,
    pub reads: Option<Recorder<Visit>>,
    pub samples: Recorder<Sample>,
    pub haproxy: Haproxy,
    started: Started,
    rolecalls: Vec<Rolecall>,
    servers: Vec<Option<Server>>,
    casts: Vec<Cast>,
    excuses: Vec<Excuse>,
    forgets: bool,
    _names: Option<Proc>,
    pub pattern: &'static Pattern,
    pub ground: Ground,
}

impl Stage {
    /// Node 1 is the primary, the others are replicas; clients come before HAProxy does. With
    /// `resolvers` the servers are known by name.
    pub fn start(
        pattern: &'static Pattern,
        (version, program): (&str, &Path),
        resolvers: bool,
    ) -> Self {
        let ground = Ground::new();
        let nodes = 1..=pattern.nodes();
        let cast = |id| if id == 1 { Role::Primary } else { Role::Replica };
        let roles: Vec<Role> = nodes.clone().map(cast).collect();
        for (id, role) in nodes.clone().zip(&roles) {
            std::fs::write(role_file(&ground, id), role.word()).expect("role");
        }
        let server = |id| Some(Server::start(id, ground.addr(id, PG_PORT)));
        let servers = nodes.clone().map(server).collect();
        let rolecall = |id| {
            let config = pattern.config(&ground, id);
            let mut one = Rolecall::new(&ground, &format!("rolecall{id}"), ROLECALL, &config);
            one.start();
            one
        };
        let rolecalls = match pattern.place {
            Place::EachNode => nodes.map(rolecall).collect(),
            Place::BesideHaproxy => vec![rolecall(1)],
        };
        let casts = vec![Cast { from: now(), roles }];
        let known = resolvers.then(|| names::serve(&ground, pattern.nodes()));
        let writes = visitor(ground.addr(FRONT, FRONT_PORT));
        let reads = pattern.reads.then(|| visitor(ground.addr(FRONT, READ_PORT)));
        let (cfg, env) = if resolvers {
            let cfg = ground.write("haproxy.cfg", &names::with_resolvers(&pattern.text()));
            (cfg, pattern.names(&ground))
        } else {
            (pattern.path(), pattern.addresses(&ground))
        };
        let haproxy = Haproxy::start(&ground, program, &cfg, &env);
        let samples = sampler(haproxy.stats());
        Self {
            writes,
            reads,
            samples,
            haproxy,
            started: Started { program: program.to_owned(), cfg, env },
            rolecalls,
            servers,
            casts,
            excuses: Vec::new(),
            forgets: version == FORGETS,
            _names: known,
            pattern,
            ground,
        }
    }

    /// What node `id` is now.
    pub fn role(&self, id: u8) -> Role {
        self.casts.last().expect("the first cast").roles[usize::from(id - 1)]
    }

    /// The nodes that are `role` now.
    pub fn all(&self, role: Role) -> Vec<u8> {
        (1..=self.pattern.nodes()).filter(|id| self.role(*id) == role).collect()
    }

    /// The primary.
    pub fn primary(&self) -> u8 {
        self.all(Role::Primary)[0]
    }

    /// Makes node `id` a `role`, server and source. What it is no more counts until it is not any
    /// more, what it becomes from before it can be.
    pub fn becomes(&mut self, id: u8, role: Role) {
        let mut cast = self.casts.last().expect("the first cast").clone();
        cast.roles[usize::from(id - 1)] = role;
        cast.from = now();
        let server = &mut self.servers[usize::from(id - 1)];
        if role == Role::Dead {
            *server = None;
            cast.from = now();
        } else if server.is_none() {
            *server = Some(Server::start(id, self.ground.addr(id, PG_PORT)));
        }
        self.casts.push(cast);
        // In one step, so that no look sees half of it.
        let next = self.ground.write(&format!("next{id}"), role.word());
        std::fs::rename(next, role_file(&self.ground, id)).expect("role");
    }

    /// Reloads HAProxy as its unit does.
    pub fn reload_haproxy(&self) {
        unit::before_reload(&self.haproxy);
        self.haproxy.reload_with_its_state();
    }

    /// Stops HAProxy and starts it as its unit does.
    pub fn start_haproxy_anew(&mut self) {
        self.haproxy.stop();
        unit::before_start(&self.haproxy);
        let Started { program, cfg, env } = &self.started;
        self.haproxy = Haproxy::start_with_its_state(None, &self.ground, program, cfg, env);
    }

    fn rolecall(&mut self, id: u8) -> &mut Rolecall {
        let at = if self.pattern.place == Place::EachNode { usize::from(id - 1) } else { 0 };
        &mut self.rolecalls[at]
    }

    /// Kills the rolecall that speaks for node `id`. From now on its servers may be DOWN.
    pub fn kill_rolecall(&mut self, id: u8) -> Stamp {
        let servers = match self.pattern.place {
            Place::EachNode => self.pattern.servers_of(id),
            Place::BesideHaproxy => {
                (1..=self.pattern.nodes()).flat_map(|id| self.pattern.servers_of(id)).collect()
            }
        };
        let from = now();
        self.excuses.push(Excuse { servers, from, to: None });
        self.rolecall(id).kill9();
        from
    }

    /// Starts it again.
    pub fn revive_rolecall(&mut self, id: u8) {
        self.rolecall(id).start();
    }

    /// No server is excused any more for being DOWN.
    pub fn end_excuses(&mut self) {
        for excuse in &mut self.excuses {
            excuse.to.get_or_insert(now());
        }
    }

    /// Gives an order to the rolecall of node `id` about its service for reads.
    pub fn order(&self, word: &str, id: u8) {
        let (name, target) = match self.pattern.place {
            Place::EachNode => (format!("rolecall{id}.toml"), "replica".to_owned()),
            Place::BesideHaproxy => {
                ("rolecall1.toml".to_owned(), format!("replica/{}{id}", self.pattern.server))
            }
        };
        let mut rolecall = Command::new(ROLECALL);
        rolecall.arg("--config").arg(self.ground.dir().join(name)).args([word, &target]);
        let output = rolecall.output().expect("rolecall");
        assert!(output.status.success(), "{word} {target}: {output:?}");
    }

    /// Waits until HAProxy has `server` up for good: a check has passed.
    pub fn wait_up(&self, server: &str) {
        self.haproxy.wait(server, SOON, "is up", |s| s.status == "UP");
    }

    /// Waits until HAProxy has `server` in maintenance because its agent said so.
    pub fn wait_maint(&self, server: &str) {
        let said = |s: &Seen| s.is_maint() && s.agent_status == "CHECKED";
        self.haproxy.wait(server, SOON, "is in maintenance", said);
    }

    /// Waits until HAProxy has everything as it is.
    pub fn settled(&self) {
        let is = |role| move |id: &u8| self.role(*id) == role;
        for id in 1..=self.pattern.nodes() {
            let place = |server: String, up: bool| {
                if up { self.wait_up(&server) } else { self.wait_maint(&server) }
            };
            place(self.pattern.rw(id), is(Role::Primary)(&id));
            if self.pattern.reads {
                place(self.pattern.ro(id), is(Role::Replica)(&id));
            }
        }
    }

    /// Looks on for so many samples and returns them.
    pub fn look_on(&self, count: usize) -> Vec<Sample> {
        let mark = self.samples.mark();
        eventually(SOON * 2, "samples", || match self.samples.mark() - mark {
            seen if seen < count => Err(seen),
            _ => Ok(()),
        });
        self.samples.since(mark)
    }

    /// Waits until a client that came after `from` has met one of `nodes`.
    pub fn wait_met(visits: &Recorder<Visit>, from: Stamp, nodes: &[u8]) -> Visit {
        let met =
            |v: &Visit| v.began >= from && matches!(v.met, Met::Server(id) if nodes.contains(&id));
        visits.wait_since(0, SOON, &format!("a client meets one of {nodes:?}"), met)
    }

    /// Whom the clients met who came from `from` on, as soon as there are some.
    pub fn met(visits: &Recorder<Visit>, from: Stamp) -> Vec<Met> {
        eventually(SOON, "clients", || {
            let visits = visits.all().into_iter().filter(|v| v.began >= from);
            let met: Vec<Met> = visits.map(|v| v.met).collect();
            if met.len() < SOME { Err(met) } else { Ok(met) }
        })
    }

    /// Asserts what must be true of the whole play: whoever writes met a node that was the primary
    /// then, whoever reads one that was the primary or a replica, or was not known yet to be unfit,
    /// nobody was left waiting, and no server was DOWN without an excuse. Returns how much was seen.
    pub fn right(&self) -> String {
        let writes = self.writes.all();
        for visit in &writes {
            self.may(visit, &[Role::Primary]);
        }
        let reads = self.reads.as_ref().map(Recorder::all).unwrap_or_default();
        for visit in &reads {
            self.may(visit, &[Role::Primary, Role::Replica, Role::Leaving]);
        }
        let samples = self.samples.all();
        for sample in &samples {
            for (name, server) in &sample.servers {
                let excused = |e: &Excuse| {
                    let after = e.to.is_some_and(|to| sample.at > to);
                    e.servers.contains(name) && sample.at >= e.from && !after
                };
                let down = server.is_down() && !self.excuses.iter().any(excused);
                assert!(!down, "{name} was shown DOWN: {server:?}");
            }
        }
        assert!(writes.len() > 100 && samples.len() > 100, "too little was seen");
        format!("{} writes, {} reads, {} samples", writes.len(), reads.len(), samples.len())
    }

    fn may(&self, visit: &Visit, roles: &[Role]) {
        let waited = visit.at.since(visit.began) >= WITHIN;
        assert!(!waited || self.forgets, "a client was left waiting: {visit:?}");
        let Met::Server(id) = visit.met else { return };
        let ends = self.casts.iter().skip(1).map(|c| Some(c.from)).chain([None]);
        let mut then = self.casts.iter().zip(ends).filter(|(cast, end)| {
            cast.from <= visit.at && end.is_none_or(|end| end >= visit.began)
        });
        let right = then.any(|(cast, _)| roles.contains(&cast.roles[usize::from(id - 1)]));
        assert!(right, "a client met node {id}: {visit:?}; {:?}", self.casts);
    }
}
