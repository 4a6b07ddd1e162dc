//! repmgr.conf, and the patience that it means.

#![no_main]

use rolecall::fuzzing::repmgr::conf;
use rolecall::look::repmgr::NodeId;
use rolecall_fuzz::{one_line, target};

target!(|data| {
    // A comment may be in any encoding.
    let text = String::from_utf8_lossy(data);
    let Some((settings, means)) = conf(&text, NodeId(1)) else { return };
    assert!(settings.len() <= text.split('\n').count());
    let mut written = String::new();
    for (name, value) in &settings {
        assert!(!name.is_empty() && !value.contains('\0'));
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        let value = value.replace('\n', "\\n").replace('\r', "\\r");
        written += &format!("{name} = '{value}'\n");
    }
    // Written in the one form that takes everything it is read as the same.
    let (again, meant) = conf(&written, NodeId(1)).expect("what is written is read");
    assert_eq!(again, settings);
    assert_eq!(meant, means);
    if let Err(why) = means {
        one_line(&why);
    }
});
