//! A model of repmgr's clusters, walked through by the rule that rolecall answers by.

mod answers;
mod cluster;
mod reference;
mod repmgr;
mod rng;
mod walk;

use cluster::Cluster;
use walk::{Operator, everything};

#[test]
fn probe() {
    let depth: usize = std::env::var("D").unwrap().parse().unwrap();
    for (size, witness) in [(2, false), (3, true), (3, false), (4, true)] {
        let t = std::time::SystemTime::now();
        let mut roots = vec![Cluster::healthy(size, witness)];
        if size - u8::from(witness) > 1 { roots.push(Cluster::with_a_new_clone(size, witness)); }
        let f = everything(&roots, depth, if size == 4 {walk::Alphabet::Core} else {walk::Alphabet::Everything}, Operator::Careful);
        println!("{size} {witness}: {} states, {} doubles {} {:?} {:?}", f.states, f.doubles, f.unequal, f.double, t.elapsed());
    }
}
