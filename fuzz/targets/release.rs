//! What another rolecall says when it is asked to give way, and that question.

#![no_main]

use rolecall::look::release::Release;
use rolecall::look::repmgr::NodeId;
use rolecall::look::role::Timeline;
use rolecall::source::releasing::{Key, Question};
use rolecall_fuzz::stage::key;
use rolecall_fuzz::{target, text};
use tokio::sync::oneshot;

const NONCE: &str = "00112233445566778899aabbccddeeff";

thread_local! {
    static KEY: Key = key();
}

target!(|data| {
    let said = text(data);
    KEY.with(|key| {
        assert_eq!(key.read_answer(said, NONCE), None, "nobody without the secret answers");
        let (reply, _) = oneshot::channel();
        let (nonce, code) = (NONCE.to_owned(), said.to_owned());
        let question =
            Question { node: NodeId(1), from: NodeId(2), nonce, without: None, code, reply };
        assert!(!key.asked(&question), "nobody without the secret asks");
        let Some(release) = Release::read(said, NONCE) else { return };
        // What is read is written, and then believed.
        assert_eq!(Release::read(&release.text(NONCE), NONCE).as_ref(), Some(&release));
        let body = key.answer(&release, NONCE);
        let believed = key.read_answer(&body, NONCE);
        assert_eq!(believed.is_some(), body.len() <= rolecall::look::release::LONGEST);
        assert!(release.node.0 > 0 && release.system.bytes().all(|byte| byte.is_ascii_digit()));
        let _ = release.longest_word();
        let lets = release.lets(release.node, &release.system, Some(Timeline(2)));
        assert!(
            !lets
                || (!release.claims && release.timeline == Some(Timeline(1))
                    || release.timeline == Some(Timeline(0)))
        );
    });
});
