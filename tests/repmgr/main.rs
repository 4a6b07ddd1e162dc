//! draft
#[path = "../fixtures/mod.rs"]
mod fixtures;
use fixtures::repmgr::*;
use fixtures::repmgr_template::Template;
use fixtures::*;
fn main() {
    let t0 = now();
    let template = Template::make("create role rolecall login");
    println!("template {:?}", now().since(t0));
    let t0 = now();
    let ground = Ground::new();
    let mut cluster = Cluster::start(&ground, &template, Shape::FULL);
    println!("cluster {:?}", now().since(t0));
    let t0 = now();
    cluster.switchover(2);
    println!("switchover {:?}", now().since(t0));
    cluster.wait_streams_from(3, 2);
    cluster.wait_streams_from(1, 2);
    cluster.wait_watched(4, 2);
    let t0 = now();
    cluster.crash(2);
    cluster.wait_promoted(1);
    println!("crash {:?}", now().since(t0));
    cluster.start_server(2);
    let t0 = now();
    cluster.rejoin(2, 1);
    println!("rejoin {:?}", now().since(t0));
    cluster.follow(3, 2);
    println!("cascade {:?}", now().since(t0));
}
