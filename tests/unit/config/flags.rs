//! What is said on the command line.

use rolecall::config::schema::{Flags, read};
use rolecall::config::secret::Secret;
use rolecall::config::{Fixed, Kind, PasswordFrom, Postgres, Source};
use rolecall::look::role::Role;
use rolecall::reply::routes::Listen;

use super::{built_in, ms, patroni_at, printed, refused};

#[test]
fn flags_replace_the_sources_and_the_first_listener() {
    let text = "[defaults]\ninterval = \"1s\"\n[source]\nkind = \"static\"\nrole = \"leader\"\n\
                [[service]]\nname = \"a\"\nroles = [\"replica\"]\n\
                [[service]]\nname = \"b\"\nroles = [\"primary\"]\nlisten = \"5556\"\n";
    let flags = Flags {
        url: Some("http://db1:8009".to_owned()),
        listen: Some("127.0.0.1:7777".to_owned()),
        ..Flags::default()
    };
    let config = read("test.toml", text, &flags, None).expect("a configuration").config;
    let kind = patroni_at("http://db1:8009");
    let source = Source {
        kind,
        interval: ms(1000),
        timeout: ms(1500),
        hold: ms(5000),
        hold_chosen: false,
        beside: ms(5000),
        memory: ms(2500),
    };
    assert_eq!(config.nodes[0].sources, [source]);
    assert_eq!(config.services[0].listen, [Listen::At(([127, 0, 0, 1], 7777).into())]);
    assert_eq!(config.services[1].listen, [Listen::Everywhere(5556)]);
}

#[test]
fn every_source_can_be_a_flag() {
    let patroni = patroni_at("http://127.0.0.1:8008");
    let conninfo = "host=db1".parse().expect("a connection string");
    let postgres = Kind::Postgres(Postgres { conninfo, password: PasswordFrom::Nowhere });
    let flag = |text: &str| Some(text.to_owned());
    let none = Flags::default();
    for (flags, kind) in [
        (Flags { source: flag("patroni"), ..none.clone() }, patroni),
        (Flags { conninfo: Some(Secret::new("host=db1")), ..none.clone() }, postgres),
        (
            Flags { role: flag("replica"), ..none.clone() },
            Kind::Static(Fixed { role: Role::Replica }),
        ),
        (
            Flags { source: flag("static"), role: flag("primary"), ..none },
            Kind::Static(Fixed { role: Role::Primary }),
        ),
    ] {
        let config = read("test.toml", "", &flags, None).expect("a configuration").config;
        assert_eq!(config.nodes[0].sources[0].kind, kind, "{flags:?}");
        assert_eq!(config.services, built_in().services);
    }
}

#[test]
fn problems_of_flags_name_the_flags() {
    let flags = Flags {
        source: Some("postgres".to_owned()),
        url: Some("http://db1:8008".to_owned()),
        listen: Some("db1".to_owned()),
        ..Flags::default()
    };
    let wanted = "\
test.toml:1: zzz: unknown key
  expected: one of haproxy, defaults, node, source, service, http, log, control, fence
  hint: `man rolecall.toml` lists every key with its default
command line: --conninfo: missing
  expected: a libpq connection string
  hint: such as \"host=/run/postgresql user=rolecall dbname=postgres\"
command line: --listen: `db1` is not an address to listen on
  expected: \"ADDRESS:PORT\", \"[IPV6]:PORT\" or \"PORT\"
  hint: write an IP address: rolecall does not look up names here. Put IPv6 addresses in brackets; the highest port is 65535
command line: --url: a source of kind `postgres` has no such key
  expected: no `url`
  hint: it is a key of kind patroni
";
    assert_eq!(printed(&refused("zzz = 1", &flags)), wanted);
    let flags = Flags { source: Some("patrony".to_owned()), ..Flags::default() };
    let wanted = "\
command line: --source: `patrony` is not a known value
  expected: one of patroni, repmgr, pg_auto_failover, postgres, tcp, command, static
  hint: did you mean `patroni`?
";
    assert_eq!(printed(&refused("", &flags)), wanted);
}
