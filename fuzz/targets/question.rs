//! A question of agent-send, as it comes over a connection.

#![no_main]

use std::sync::Arc;

use rolecall::host::seats::Seats;
use rolecall::port::asking::Asker;
use rolecall::report::view::View;
use rolecall_fuzz::stage::Stage;
use rolecall_fuzz::{cleaned, run, target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

target!(|data| {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    STAGE.with(|stage| {
        stage.look();
        let View { facts, clock, counted, .. } = &stage.pages.view;
        let asker = Asker::new(stage.addr, facts.clone(), clock.clone(), counted.clone());
        let (asker, places) = (Arc::new(asker), Seats::new(1));
        let place = places.take(None, || false, || ());
        let said = run(async {
            let (mut client, server) = duplex(8192);
            client.write_all(&data[..data.len().min(4096)]).await.expect("there is room");
            client.shutdown().await.expect("it is open");
            asker.answer(clock.now(), server, None, &place).await;
            let mut said = String::new();
            client.read_to_string(&mut said).await.expect("it is text");
            said
        });
        let line = said.strip_suffix('\n').expect("a line");
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')) && line.len() <= 256,
            "{line:?}"
        );
        // Writes go to the one node that is the primary, whatever is asked.
        let ready =
            line.starts_with("ready") || line.starts_with("READY") || line.starts_with("up ready");
        if ready {
            let asked = String::from_utf8_lossy(data);
            let words: Vec<_> =
                asked.split('\n').next().unwrap_or_default().split_ascii_whitespace().collect();
            let named = matches!(*words, ["pg1"] | ["pg1", "primary"] | ["pg2", "replica"]);
            assert!(named, "{line:?} to {asked:?}");
        }
        let kept = counted.strays.kept();
        assert!(kept.len() <= 16);
        for stray in kept {
            // 64 bytes, each escaped at most as \u{xxxxxx}.
            cleaned(&stray.question, 64 * 10);
        }
    });
});
