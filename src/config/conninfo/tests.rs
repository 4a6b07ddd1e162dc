use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::look::place::{DEFAULT_SOCKET_DIR, Place, quoted};

fn read(text: &str) -> Conninfo {
    text.parse().unwrap_or_else(|e: ConninfoError| panic!("{text:?}: {e}; hint: {}", e.hint))
}

fn refused(text: &str) -> ConninfoError {
    text.parse::<Conninfo>().expect_err(text)
}

/// host, hostaddr, port, dbname, user, password
type Parts<'a> = (Option<&'a str>, Option<&'a str>, u16, &'a str, &'a str, &'a str);

#[test]
fn both_forms_are_read_as_libpq_reads_them() {
    let table: &[(&str, Parts)] = &[
        ("", (None, None, 5432, "", "", "")),
        ("  \t ", (None, None, 5432, "", "", "")),
        ("host=db1", (Some("db1"), None, 5432, "", "", "")),
        (" host = db1  port\t=\n6432 ", (Some("db1"), None, 6432, "", "", "")),
        ("host=/run/postgresql dbname=a", (Some("/run/postgresql"), None, 5432, "a", "", "")),
        ("hostaddr=10.0.0.1", (None, Some("10.0.0.1"), 5432, "", "", "")),
        ("host=db1 hostaddr=::1", (Some("db1"), Some("::1"), 5432, "", "", "")),
        ("host='' user=''", (None, None, 5432, "", "", "")),
        ("host=a host=b", (Some("b"), None, 5432, "", "", "")),
        (r"password='it\'s \\ it'", (None, None, 5432, "", "", r"it's \ it")),
        (r"password=it\'s\ it user=u", (None, None, 5432, "", "u", "it's it")),
        (r"password=a'b", (None, None, 5432, "", "", "a'b")),
        (r"password=ends\", (None, None, 5432, "", "", "ends")),
        ("password='a'user=u", (None, None, 5432, "", "u", "a")),
        ("dbname=a=b", (None, None, 5432, "a=b", "", "")),
        ("postgresql://", (None, None, 5432, "", "", "")),
        ("postgres://db1", (Some("db1"), None, 5432, "", "", "")),
        ("postgresql://db1:6432", (Some("db1"), None, 6432, "", "", "")),
        ("postgresql://db1:6432/orders", (Some("db1"), None, 6432, "orders", "", "")),
        ("postgresql:///orders", (None, None, 5432, "orders", "", "")),
        ("postgresql://u@db1", (Some("db1"), None, 5432, "", "u", "")),
        ("postgresql://u:pw@db1/d", (Some("db1"), None, 5432, "d", "u", "pw")),
        ("postgresql://u:p%40%3a%2F@db1", (Some("db1"), None, 5432, "", "u", "p@:/")),
        ("postgresql://u:p:w@db1", (Some("db1"), None, 5432, "", "u", "p:w")),
        ("postgresql://db1?user=a%40b", (Some("db1"), None, 5432, "", "a@b", "")),
        ("postgresql://:pw@", (None, None, 5432, "", "", "pw")),
        ("postgresql://[::1]:6432/d", (Some("::1"), None, 6432, "d", "", "")),
        ("postgresql://[2001:db8::1]", (Some("2001:db8::1"), None, 5432, "", "", "")),
        ("postgresql://%2Frun%2Fpg/d", (Some("/run/pg"), None, 5432, "d", "", "")),
        ("postgresql:///d?host=/run/pg&port=6", (Some("/run/pg"), None, 6, "d", "", "")),
        ("postgresql://db1/d?user=u&password=a%26b", (Some("db1"), None, 5432, "d", "u", "a&b")),
        ("postgresql://db1?hostaddr=10.0.0.1", (Some("db1"), Some("10.0.0.1"), 5432, "", "", "")),
    ];
    for (text, (host, hostaddr, port, dbname, user, password)) in table {
        let conninfo = read(text);
        assert_eq!(conninfo.place.host.as_deref(), *host, "{text:?}");
        assert_eq!(
            conninfo.place.hostaddr.map(|a| a.to_string()).as_deref(),
            *hostaddr,
            "{text:?}"
        );
        assert_eq!(conninfo.place.port, *port, "{text:?}");
        assert_eq!(conninfo.dbname.as_deref().unwrap_or(""), *dbname, "{text:?}");
        assert_eq!(conninfo.user.as_deref().unwrap_or(""), *user, "{text:?}");
        assert_eq!(conninfo.password.as_ref().map_or("", Secret::expose), *password, "{text:?}");
    }
}

#[test]
fn the_words_of_tls_are_read() {
    let mode = |text: &str| read(text).tls.mode;
    assert_eq!(mode(""), SslMode::Prefer);
    for (word, expected) in [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ] {
        assert_eq!(mode(&format!("sslrootcert=/ca host=h sslmode={word}")), expected);
    }
    assert_eq!(mode("host=h sslrootcert=system"), SslMode::VerifyFull);
    assert_eq!(mode("postgresql://h?ssl=true"), SslMode::Require);
    let tls = read("sslrootcert=/ca sslcert=/c sslkey=/k").tls;
    assert_eq!(tls.root, Some(Root::File("/ca".into())));
    assert_eq!(tls.client, Some(ClientCertificate { cert: "/c".into(), key: "/k".into() }));
    assert_eq!(read("channel_binding=require").channel_binding, ChannelBinding::Require);
    assert_eq!(read("").require_auth, None);
    let required = read("require_auth=none,scram-sha-256").require_auth.unwrap();
    assert!(required.names(Method::None) && !required.allows(Method::Md5));
}

#[test]
fn the_other_keys_are_read_or_change_nothing() {
    let conninfo =
        read("application_name=a fallback_application_name=b options='-c x=y' passfile=/p");
    assert_eq!(conninfo.application_name, "a");
    assert_eq!(conninfo.options.as_deref(), Some("-c x=y"));
    assert_eq!(conninfo.passfile, Some("/p".into()));
    assert_eq!(read("fallback_application_name=b").application_name, "b");
    assert_eq!(
        read("connect_timeout=2 keepalives=1 keepalives_idle=30 target_session_attrs=any"),
        read("")
    );
    assert_eq!(read("").application_name, APPLICATION_NAME);
}

/// As `pg_basebackup -R` of PostgreSQL 18 writes it, and with what drivers add.
#[test]
fn what_others_write_down_is_read_where_it_changes_nothing() {
    let written = "user=rolecall passfile=/p channel_binding=prefer host=db1 port=5432 \
                   sslmode=prefer sslnegotiation=postgres sslcompression=0 sslcertmode=allow \
                   sslsni=1 ssl_min_protocol_version=TLSv1.2 gssencmode=prefer \
                   krbsrvname=postgres gssdelegation=0 gsslib=gssapi target_session_attrs=any \
                   load_balance_hosts=disable client_encoding=UTF8 replication=false \
                   min_protocol_version=3.0 max_protocol_version=latest connect_timeout=10 \
                   tcp_user_timeout=0 requirepeer=postgres sslpassword=x";
    assert_eq!(read(written), read("user=rolecall passfile=/p host=db1"));
    assert_eq!(read("sslcert=/c sslkey=/k sslcertmode=disable").tls.client, None);
    let tls = |text: &str| read(text).tls;
    assert_eq!(tls("ssl_min_protocol_version=TLSv1.3").versions, TlsVersions::Only13);
    assert_eq!(tls("ssl_max_protocol_version=TLSv1.2").versions, TlsVersions::Only12);
    assert!(!tls("sslsni=0").sni);
}

/// Every keyword of the manual of PostgreSQL 18 is known: none is taken for a piece of a password.
#[test]
fn every_key_of_libpq_is_known() {
    for key in "host hostaddr port dbname user password passfile require_auth channel_binding \
                connect_timeout client_encoding options application_name \
                fallback_application_name keepalives keepalives_idle keepalives_interval \
                keepalives_count tcp_user_timeout replication gssencmode sslmode requiressl \
                sslnegotiation sslcompression sslcert sslkey sslkeylogfile sslpassword \
                sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer \
                ssl_min_protocol_version ssl_max_protocol_version min_protocol_version \
                max_protocol_version krbsrvname gsslib gssdelegation scram_client_key \
                scram_server_key service servicefile target_session_attrs load_balance_hosts \
                oauth_issuer oauth_client_id oauth_client_secret oauth_scope"
        .split_whitespace()
        .filter(|key| *key != "requiressl")
    {
        if let Err(error) = format!("{key}=1").parse::<Conninfo>() {
            assert!(!error.problem.contains("not a libpq key"), "{key}: {error}");
            assert!(
                error.problem.contains(&format!("`{key}`")) || key.starts_with("ssl"),
                "{error}"
            );
        }
    }
}

#[test]
fn all_that_cannot_be_honoured_is_named_in_one_run() {
    let error = refused(
        "host=a,b sslmode=on channel_binding=maybe sslcrl=/x target_session_attrs=read-write \
         oauth_issuer=x nonsense=1",
    );
    for named in [
        "`sslmode`",
        "`channel_binding`",
        "`sslcrl`",
        "`target_session_attrs`",
        "`oauth_issuer`",
        "not a libpq key",
    ] {
        assert!(error.problem.contains(named), "{named}: {error}");
    }
}

#[test]
fn what_is_refused_is_named_with_what_was_expected_and_a_hint() {
    for (text, named) in [
        ("host", "word 1 is not followed by `=`"),
        ("host=a dbname", "word 2 is not followed by `=`"),
        ("password='it''s'", "word 2 is not followed by `=`"),
        ("host='a", "has no end, expected `'`"),
        ("host=a,b,c,d,e,f,g,h,i", "`host` lists 9 hosts, expected 8 at most"),
        (
            "host=a,b target_session_attrs=prefer-standby",
            "`target_session_attrs` is \"prefer-standby\", expected any",
        ),
        ("postgresql://a,b/d?target_session_attrs=primary", "expected any"),
        ("host=a,b load_balance_hosts=random", "`load_balance_hosts` is \"random\""),
        ("host=a,b hostaddr=10.0.0.1,10.0.0.2 sslmode=verify-full", "`sslrootcert` is missing"),
        ("host=a,b hostaddr=10.0.0.1", "`hostaddr` lists 1 values, expected 2"),
        ("port=1,2", "`port` lists 2 values, expected 1"),
        ("port=0", "`port` is \"0\", expected a number from 1 to 65535"),
        ("port=65536", "expected a number from 1 to 65535"),
        ("hostaddr=db1", "`hostaddr` is \"db1\", expected an IPv4 or IPv6 address"),
        ("host=@abstract", "abstract socket"),
        ("sslmode=on", "`sslmode` is \"on\", expected one of disable, allow, prefer"),
        ("sslmode=verify-ca", "`sslrootcert` is missing"),
        ("sslmode=require sslrootcert=system", "weaker than verify-full"),
        ("sslmode=verify-full sslrootcert=/ca hostaddr=10.0.0.1", "`host` is missing"),
        ("sslcert=/c", "only one of `sslcert` and `sslkey` is set"),
        ("channel_binding=maybe", "`channel_binding` is \"maybe\""),
        (
            "target_session_attrs=read-write",
            "`target_session_attrs` is \"read-write\", expected any or prefer-standby",
        ),
        ("connect_timeout=soon", "`connect_timeout` is \"soon\", expected a whole number"),
        ("gssencmode=require", "`gssencmode` is \"require\", expected disable or prefer"),
        ("service=x", "does not support the key `service`"),
        ("sslcrl=/x", "does not support the key `sslcrl`"),
        ("requirepeer=postgres", "does not support the key `requirepeer`"),
        ("hots=x", "is not a libpq key"),
        ("require_auth=scram", "`require_auth` has no authentication method as word 1"),
        ("channel_binding=require sslmode=disable", "expected TLS to bind to"),
        ("=x", "is not a libpq key"),
        ("postgresql://[::1", "in brackets"),
        ("postgresql://[]", "in brackets"),
        ("postgresql://[::1]x", "in brackets"),
        ("postgresql://a?host", "not key=value"),
        ("postgresql://a?host=b=c", "not key=value"),
        ("postgresql://%zz", "not followed by two hexadecimal digits"),
        ("postgresql://a%2", "not followed by two hexadecimal digits"),
        ("postgresql://%ff", "not UTF-8"),
        ("postgresql://%00", "zero byte"),
    ] {
        let error = refused(text);
        assert!(error.problem.contains(named), "{text:?}: {error}");
        assert!(!error.hint.is_empty(), "{text:?}");
    }
}

#[test]
fn no_form_shows_the_password() {
    let conninfo = read("host=db1 dbname='a b' user=u password=hunter2");
    assert_eq!(conninfo.to_string(), "host=db1 port=5432 dbname='a b' user=u");
    assert!(!format!("{conninfo:?}").contains("hunter2"));
    for text in ["password=a hunter2", "password=a HUNTER2=b", "password='hunter2", "x=1 password"]
    {
        let error = refused(text);
        assert!(!format!("{error:?}").to_lowercase().contains("hunter2"), "{error:?}");
    }
}

/// Passwords that were not encoded, or not quoted, and what libpq would make of their pieces.
#[test]
fn no_piece_of_a_string_that_cannot_be_used_is_repeated() {
    for text in [
        "postgresql://u:hunter2/x@h",
        "postgresql://u:p@hunter2@h",
        "postgresql://u:p@hunter2/x@h",
        "postgresql://u:p@hunter2/hunter2@h/d",
        "postgresql://u:4711/hunter2@h",
        "postgresql://u:4711@x?hunter2=b@h",
        "postgresql://u:4711?hunter2=b",
        "postgresql://u:p@h:hunter2/d",
        "postgresql://u:p@h?port=hunter2",
        "postgresql://u:p@h?hostaddr=hunter2",
        "postgresql://u:p@h?sslmode=hunter2",
        "postgresql://u:p@h?connect_timeout=hunter2",
        "postgresql://u:p@h?gssencmode=hunter2",
        "postgresql://u:p@h?require_auth=hunter2",
        "postgresql://u:p@h?hunter=hunter2",
        "postgresql://u:p@h%40hunter2",
        "postgresql://u:p@h%2Fhunter2",
        "postgresql://u:p@h?host=hunter2%40h",
        "host=hunter2@h",
        "host=h/hunter2",
        "host='hunter2#'",
        "password=a hunter=b",
        "host=h require_auth=hunter2",
    ] {
        let error = refused(text);
        for said in [format!("{error:?}"), format!("{error}"), error.hint.clone()] {
            assert!(!said.contains("hunter") && !said.contains("4711"), "{text:?}: {said}");
        }
        assert!(
            places(text).is_ok_and(|found| !format!("{found:?}").contains("hunter2"))
                || places(text).is_err(),
            "{text:?} leads to a piece of a password"
        );
    }
}

#[test]
fn a_string_leads_to_a_few_servers_however_many_it_lists() {
    let listed = |n: usize| format!("host={}", vec!["h"; n].join(","));
    assert_eq!(places(&listed(MAX_PLACES)).unwrap().len(), MAX_PLACES);
    assert_eq!(places(&listed(3_000)).unwrap().len(), MAX_PLACES);
    assert!(refused(&listed(3_000)).problem.contains("lists 3000 hosts"));
}

/// The hosts of the own string are one server's, the first says whose; printed, they are read again.
#[test]
fn the_own_string_may_list_several_hosts() {
    for (text, shown) in [
        ("host=a,b user=u", "host=a,b port=5432,5432 user=u"),
        ("postgresql://a:1,[::1]:2/d?target_session_attrs=any", "host=a,::1 port=1,2 dbname=d"),
        ("host=,b hostaddr=10.0.0.1, port=7", "host=,b hostaddr=10.0.0.1, port=7,7"),
        ("host=/run/postgresql,127.0.0.1", "host=/run/postgresql,127.0.0.1 port=5432,5432"),
    ] {
        let found = read(text);
        assert_eq!(found.others.len(), 1, "{text}");
        assert_eq!(found.to_string(), shown);
        let again = read(shown);
        assert!(again.places().eq(found.places()), "{again:?}");
    }
}

#[test]
fn a_place_knows_its_socket() {
    let dir = |text: &str| read(text).place.socket_dir().map(Path::to_path_buf);
    assert_eq!(dir(""), Some(DEFAULT_SOCKET_DIR.into()));
    assert_eq!(dir("host=/tmp"), Some("/tmp".into()));
    assert_eq!(dir("host=/tmp hostaddr=127.0.0.1"), None);
    assert_eq!(dir("host=db1"), None);
    assert_eq!(dir("hostaddr=127.0.0.1"), None);
}

#[test]
fn the_servers_of_a_foreign_string_are_read_whatever_else_it_says() {
    let found =
        places("host=a,b,c hostaddr=,10.0.0.2, port=1,,3 replication=1 nonsense=x").unwrap();
    let shown: Vec<_> = found.iter().map(Place::to_string).collect();
    assert_eq!(shown, ["host=a port=1", "host=b hostaddr=10.0.0.2 port=5432", "host=c port=3"]);
    let found = places("postgresql://a:1,[::1]:2,c/d?x=y").unwrap();
    let shown: Vec<_> = found.iter().map(Place::to_string).collect();
    assert_eq!(shown, ["host=a port=1", "host=::1 port=2", "host=c port=5432"]);
    let found = places("host=a,b port=7").unwrap();
    assert!(found.iter().all(|place| place.port == 7));
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, b| format!("{all}%{b:02x}"))
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<Conninfo>();
        let _ = format!("postgresql://{text}").parse::<Conninfo>();
    }

    #[test]
    fn no_text_of_the_grammar_panics(text in r"(postgres://)?([a-z@:/?,\[\]=&%'\\ ]|host|port){0,24}") {
        let _ = text.parse::<Conninfo>();
    }

    #[test]
    fn a_quoted_value_is_read_back(user in "[^\0]{1,20}", password in "[^\0]{1,20}") {
        let words = format!("user={} password={}", quoted(&user), quoted(&password));
        let conninfo = read(&words);
        prop_assert_eq!(conninfo.user.as_deref(), Some(&*user));
        prop_assert_eq!(conninfo.password, Some(Secret::new(&*password)));
        let conninfo = read(&format!("postgres://{}:{}@h", encoded(&user), encoded(&password)));
        prop_assert_eq!(conninfo.user.as_deref(), Some(&*user));
        prop_assert_eq!(conninfo.password, Some(Secret::new(password)));
    }

    #[test]
    fn what_is_displayed_is_read_back(host in "/[^\0,]{1,20}|[a-z0-9.:_%-]{1,20}", user in "[^\0]{1,20}", port in 1..=u16::MAX) {
        let host = host.trim();
        prop_assume!(!host.is_empty());
        let conninfo = Conninfo {
            place: Place { host: Some(host.to_owned()), hostaddr: None, port },
            user: Some(user),
            ..read("")
        };
        prop_assert_eq!(read(&conninfo.to_string()), conninfo);
    }
}
