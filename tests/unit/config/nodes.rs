//! Several nodes.

use rolecall::config::schema::{Flags, Loaded};
use rolecall::config::warning::Warning;
use rolecall::reply::routes::Route;

use super::{accepted, ms, printed, refused};

#[test]
fn several_nodes_have_addresses_and_sources_of_their_own() {
    let text = "[defaults]\nkind = \"patroni\"\ninterval = \"1s\"\n\
                [[service]]\nname = \"primary\"\nroles = [\"primary\"]\n\
                [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n\
                [[node]]\nname = \"pg1\"\ncluster = \"orders\"\nsource = { url = \"http://10.0.0.1:8008\" }\n\
                listen = { primary = \"127.0.0.1:6001\", replica = [\"127.0.0.1:6002\", \"6003\"] }\n\
                [[node]]\nname = \"pg2\"\nlisten = { primary = \"127.0.0.1:6011\" }\n\
                [[node.source]]\nurl = \"http://10.0.0.2:8008\"\n\
                [[node.source]]\nkind = \"static\"\nrole = \"replica\"\n";
    let config = accepted(text).config;
    let names: Vec<_> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["pg1", "pg2"]);
    assert_eq!(config.nodes[0].cluster.as_deref(), Some("orders"));
    assert_eq!(config.nodes[0].sources[0].interval, ms(1000), "from [defaults]");
    let kinds: Vec<_> = config.nodes[1].sources.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!(kinds, ["patroni", "static"]);
    let routes = config.routes();
    let asked = |addr: &str| routes.at(addr.parse().unwrap()).map(|a| (a.node, a.service));
    assert_eq!(asked("127.0.0.1:6001"), Some((Some(0), 0)));
    assert_eq!(asked("127.0.0.1:6002"), Some((Some(0), 1)));
    assert_eq!(asked("[::]:6003"), Some((Some(0), 1)));
    assert_eq!(asked("127.0.0.1:6011"), Some((Some(1), 0)));
    assert_eq!(asked("127.0.0.1:6012"), None);
    assert_eq!(config.listens().count(), 4);
}

#[test]
fn one_address_may_ask_for_several_nodes_where_a_question_is_read() {
    let text = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"5555\"\nagent_send = true\n\
                [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n\
                [[node]]\nname = \"pg1\"\nsource = { kind = \"static\", role = \"primary\" }\n\
                listen = { primary = \"127.0.0.1:6001\" }\n\
                [[node]]\nname = \"pg2\"\nsource = { kind = \"static\", role = \"replica\" }\n";
    let Loaded { config, warnings } = accepted(text);
    assert!(warnings.contains(&Warning::AgentSend));
    let routes = config.routes();
    let asked = |addr: &str| routes.at(addr.parse().unwrap());
    let reading = Route { node: None, service: 0, agent_send: true };
    assert_eq!(asked("[::]:5555"), Some(reading));
    let own = Route { node: Some(0), service: 0, agent_send: false };
    assert_eq!(asked("127.0.0.1:6001"), Some(own), "it says all that is asked there");
    let alone = accepted(
        &text
            .replace("5555\"\nagent_send = true", "5555\"")
            .replace(
                "[[node]]\nname = \"pg2\"\nsource = { kind = \"static\", role = \"replica\" }\n",
                "",
            )
            .replace("[\"replica\"]", "[\"replica\"]\nlisten = \"5556\""),
    );
    assert!(!alone.warnings.contains(&Warning::AgentSend));
}

#[test]
fn a_question_needs_an_address_that_it_is_read_at() {
    let text = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\nagent_send = true\n\
                [[node]]\nname = \"pg1\"\nsource = { kind = \"static\", role = \"primary\" }\n\
                listen = { primary = \"127.0.0.1:6001\" }\n";
    let problems = refused(text, &Flags::default());
    assert_eq!(
        printed(&problems),
        "test.toml:4: service[1].agent_send: is set without `listen`\n  expected: `listen` too\n  \
         hint: remove it: the address of a [[node]] already selects node and service\n"
    );
}
