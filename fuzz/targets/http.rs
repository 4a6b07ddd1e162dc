//! A request over HTTP, from its first byte on.

#![no_main]

use std::cell::RefCell;

use rolecall::host::seats::Seats;
use rolecall::source::releasing::Key;
use rolecall_fuzz::stage::{Stage, key};
use rolecall_fuzz::{one_line, run, target};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

thread_local! {
    static STAGE: RefCell<(Stage, Key)> = RefCell::new((Stage::new(), key()));
}

target!(|data| {
    STAGE.with_borrow_mut(|(stage, key)| {
        stage.look();
        // The first byte says whether it may ask.
        let Some((may, request)) = data.split_first() else { return };
        let pages = &stage.pages;
        let peer = "192.0.2.1:1".parse().expect("an address");
        let places = Seats::new(1);
        let place = places.take(std::net::IpAddr::from([192, 0, 2, 1]), || false, || ());
        let place = (may % 2 == 0).then_some(&place);
        let questions = &mut stage.questions;
        let (said, asked) = run(async {
            let (mut client, server) = duplex(256 * 1024);
            client
                .write_all(&request[..request.len().min(128 * 1024)])
                .await
                .expect("there is room");
            client.shutdown().await.expect("it is open");
            let mut asked = 0;
            let answered =
                async { pages.connection(pages.view.clock.now(), server, peer, place).await };
            let keeper = async {
                while let Some(question) = questions.recv().await {
                    // Nobody without the secret asks.
                    assert!(!key.asked(&question), "{question:?}");
                    asked += 1;
                    let _ = question.reply.send(None);
                }
            };
            tokio::select! {
                () = answered => {}
                () = keeper => {}
            }
            let mut said = Vec::new();
            client.read_to_end(&mut said).await.expect("it ends");
            (said, asked)
        });
        assert!(asked <= 1 && (asked == 0 || place.is_some()), "{asked} questions");
        if said.is_empty() {
            return;
        }
        let said = String::from_utf8(said).expect("it is text");
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        head.split("\r\n").for_each(one_line);
        let code: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
        assert!([200, 400, 403, 404, 405, 414, 431, 500, 503, 505].contains(&code), "{head}");
        let may_not = place.is_none() && ![400, 414, 431, 505].contains(&code);
        assert!(!may_not || code == 403, "{head}");
        if head.contains("application/json") && !body.is_empty() {
            let _: Value = serde_json::from_str(body).expect("it is JSON");
            body.split('\n').for_each(one_line);
        }
        assert!(said.len() < 64 * 1024, "{} bytes", said.len());
    });
});
