//! The HTTP port: the same verdicts for those who ask over HTTP, everything that is known, and metrics.
//!
//! It answers GET, HEAD and OPTIONS, and changes nothing. One request a connection; connections, the
//! size of a request and the time of a connection are bounded, so that no client holds anything.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::PAGES;
use crate::facts::beats;
use crate::host::clock::wall_time;
use crate::host::descriptors::Shares;
use crate::host::seats::{Seat, Seats};
use crate::host::seldom::Seldom;
use crate::look::repmgr::NodeId;
use crate::look::role::{Role, Timeline};
use crate::look::stamp::Stamp;
use crate::look::text;
use crate::port::awake::{Awake, GLANCES, look_first_if_slow};
use crate::port::strangers;
use crate::reply::routes::allowed;
use crate::report::history::page::Wanted;
use crate::report::metrics::{Exposed, Refusal};
use crate::report::page;
use crate::report::view::View;
use crate::source::releasing::{CODE, FROM, NONCE, Question, WITHOUT};

/// Time for a connection: request, answer and end.
const CONNECTION: Duration = Duration::from_secs(10);
/// Time for the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of a request's head; hyper's least.
const HEAD: usize = 8192;
/// Bytes of what was asked and is not known that are repeated.
const MOST_SHOWN: usize = 60;
/// Pause after an error of accept that waiting may cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest wait for what the keeper says to a candidate.
const ANSWER: Duration = Duration::from_millis(500);
/// Where a candidate asks a node to give way, before that node's number.
const RELEASE: &str = "/release/";

/// What Patroni's API calls the same as `/primary`.
const PRIMARY: [&str; 2] = ["master", "read-write"];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// What is answered from; one for all HTTP ports.
#[derive(Clone)]
pub struct Pages {
    /// What is known.
    pub view: View,
    /// The metrics.
    pub exposed: Arc<Exposed>,
    /// Takes the questions of candidates that ask a node here to give way.
    pub questions: mpsc::Sender<Question>,
    /// Room for connections.
    pub places: Room,
}

/// Room for the connections of all HTTP ports.
#[derive(Clone)]
pub struct Room {
    /// Those who may ask, by their addresses.
    asking: Seats<IpAddr>,
    /// Those who may not ask and are told so; one more is closed. They take no place of the others.
    strangers: Arc<Semaphore>,
}

impl Room {
    /// As much as the process can have open.
    pub fn of(shares: &Shares) -> Self {
        let strangers = Arc::new(Semaphore::new(shares.strangers));
        Self { asking: Seats::new(shares.http), strangers }
    }
}

/// Answers at `listener` until `stop`. No error of accept ends it sooner.
///
/// # Errors
/// The listener could not be registered with the runtime.
pub async fn serve(
    listener: std::net::TcpListener,
    pages: Pages,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut failing = Seldom::default();
    let mut told = false;
    let mut glances = interval(GLANCES);
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut awake = Awake::new(pages.view.clock.now());
    let mut facts = pages.view.facts.clone();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => Some(accepted),
            _ = glances.tick() => None,
        };
        awake.look_first(&pages.view.clock, &mut facts, &stop).await;
        let now = pages.view.clock.now();
        let Some(accepted) = accepted else { continue };
        match accepted {
            Ok((stream, peer)) => {
                let may = pages.allows(peer.ip());
                if !may {
                    pages.view.counted.refused(Refusal::NotAllowed);
                    let first = !std::mem::replace(&mut told, true);
                    strangers::not_allowed(first, "HTTP request", &"[http]", Some(peer.ip()));
                }
                let pages = pages.clone();
                if may {
                    if pages.listen_to(now, stream, peer) {
                        // Whoever made room closes before one more is accepted.
                        tokio::task::yield_now().await;
                    }
                } else if let Ok(place) = Arc::clone(&pages.places.strangers).try_acquire_owned() {
                    tokio::spawn(async move {
                        pages.connection(now, stream, peer, None).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                if let Some(untold) = failing.may(pages.view.clock.now()) {
                    let hint = "if file descriptors run out, raise LimitNOFILE= of the unit";
                    warn!(%error, hint, untold, "HTTP connections cannot be accepted; trying again");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Pages {
    fn allows(&self, peer: IpAddr) -> bool {
        let facts = self.view.facts.borrow();
        facts.http_allow.as_deref().is_some_and(|allow| allowed(allow, Some(peer)))
    }

    /// Serves one who may ask beside all others. Whether one of these had to make room.
    fn listen_to(self, began: Stamp, stream: TcpStream, peer: SocketAddr) -> bool {
        let make_room = CancellationToken::new();
        let end = make_room.clone();
        let place =
            self.places.asking.take(peer.ip().to_canonical(), || false, move || end.cancel());
        let another_went = place.made_room;
        tokio::spawn(async move {
            tokio::select! {
                () = self.connection(began, stream, peer, Some(&place)) => {}
                () = make_room.cancelled() => {
                    self.view.counted.refused(Refusal::Busy);
                    debug!(%peer, "HTTP connection closed to make room for another");
                }
            }
        });
        another_went
    }

    /// Serves one connection; without a place it is told that it may not ask.
    pub async fn connection(
        &self,
        began: Stamp,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: SocketAddr,
        place: Option<&Seat<IpAddr>>,
    ) {
        let may = place.is_some();
        // What is decided here may be a READY, and is written later: see `Spoken`.
        let written_later = Mutex::new(None);
        let service = service_fn(async |request: Request<Incoming>| {
            if let Some(place) = place {
                place.spoke();
            }
            if let Some(question) = question(&request, may) {
                return Ok::<_, Infallible>(self.ask_keeper(question, request.method()).await);
            }
            look_first_if_slow(began, &self.view.clock, &self.view.facts).await;
            let under_way = self.view.counted.spoken.begin();
            *written_later.lock().unwrap_or_else(PoisonError::into_inner) = Some(under_way);
            Ok(self.answer(&request, may))
        });
        let mut http = http1::Builder::new();
        http.keep_alive(false).max_buf_size(HEAD).half_close(true);
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        let served = timeout(CONNECTION, http.serve_connection(TokioIo::new(stream), service));
        match served.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%peer, %error, "HTTP connection ended"),
            Err(_) => debug!(%peer, "HTTP connection closed because it took too long"),
        }
    }

    async fn ask_keeper(
        &self,
        (question, answer): (Question, oneshot::Receiver<Option<String>>),
        method: &Method,
    ) -> Response<Full<Bytes>> {
        let asked = self.questions.try_send(question).is_ok();
        let answered = match timeout(ANSWER, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) | Err(_) => None,
        };
        let page = match answered {
            Some(body) => Answer::text(StatusCode::OK, &body),
            None if asked => Answer::problem(
                StatusCode::FORBIDDEN,
                "this rolecall did not give way",
                "all rolecalls of a cluster need the same secret in `release_key_file`",
            ),
            None => Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "try again"),
        };
        page.response(method)
    }

    fn answer(&self, request: &Request<Incoming>, may: bool) -> Response<Full<Bytes>> {
        let answer = if !may {
            let hint = "add the address or its network to `allow` of [http]";
            Answer::problem(StatusCode::FORBIDDEN, "this address may not ask", hint)
        } else if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
            let hint = "HTTP changes nothing: use rolecall ready, drain or maint";
            Answer::problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET, HEAD and OPTIONS are allowed",
                hint,
            )
        } else if is_page(request.uri().path()) && request.uri().query() == Some(page::STAYS) {
            self.document(false)
        } else if let Some(query) = request.uri().query().filter(|query| !query.is_empty()) {
            // Nothing that is asked is passed over: `/replica?lag=1MB`, as Patroni has it, would be answered
            // as if there were no limit.
            let keys: Vec<_> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
            let what = format!(
                "no page accepts parameters: {}",
                text::plain(&keys.join(", "), MOST_SHOWN)
            );
            let hint = "remove the part after `?`; limits are set in the configuration: max_lag, \
                        max_lag_time";
            Answer::problem(StatusCode::BAD_REQUEST, &what, hint)
        } else {
            let accept = request.headers().get_all(ACCEPT).iter();
            let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
            self.page(request.uri().path(), &accept.join(","))
        };
        answer.response(request.method())
    }

    fn page(&self, path: &str, accept: &str) -> Answer {
        let now = self.view.clock.now();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            _ if is_page(path) => self.document(true),
            ["live"] if beats(now, &self.view.facts.borrow()) => {
                Answer::text(StatusCode::OK, "ok\n")
            }
            ["live"] => Answer::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "a source has not polled for too long\n",
            ),
            // The port is open once a configuration is in force.
            ["ready"] => Answer::text(StatusCode::OK, "ok\n"),
            ["metrics"] => match self.exposed.text(accept) {
                Ok((kind, body)) => Answer { code: StatusCode::OK, kind, body },
                Err(error) => Answer::problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &error.to_string(),
                    "report this as a bug",
                ),
            },
            ["status"] => Answer::json(StatusCode::OK, &self.view.status(now)),
            ["history"] => {
                Answer::json(StatusCode::OK, &self.view.history.page(now, Wanted::default()))
            }
            [service] => self.service(now, service, None),
            [service, node] => self.service(now, service, Some(node)),
            _ => Answer::problem(StatusCode::NOT_FOUND, "there is no such page", "see /status"),
        }
    }

    /// Everything that is known, for a person; `refreshed`: a browser asks for it again by itself.
    fn document(&self, refreshed: bool) -> Answer {
        let now = self.view.clock.now();
        let (status, made) = (self.view.status(now), wall_time());
        let wanted = Wanted { since: Some(page::SHOWN), ..Wanted::default() };
        let history = self.view.history.page(now, wanted);
        let body = page::document(&status, &history, made, refreshed);
        Answer { code: StatusCode::OK, kind: HTML, body }
    }

    /// `/SERVICE` is about the only node; where there are several the question must name one: a check
    /// that forgot it would send writes to whatever it checks.
    fn service(&self, now: Stamp, asked: &str, node: Option<&str>) -> Answer {
        let status = self.view.status(now);
        let not_found =
            |what: String, hint: String| Answer::problem(StatusCode::NOT_FOUND, &what, &hint);
        let known = |names: Vec<&str>| names.join(", ");
        let names = status.nodes.iter().map(|of| of.node.as_str()).collect();
        let node = match (node, status.nodes.as_slice()) {
            (Some(node), _) => status.nodes.iter().find(|of| of.node == node),
            (None, [only]) => Some(only),
            (None, _) => {
                let what = "there are several nodes: name one of them".to_owned();
                return not_found(
                    what,
                    format!("ask for /{asked}/NODE; the nodes are {}", known(names)),
                );
            }
        };
        let Some(node) = node else {
            return not_found(
                "there is no such node".to_owned(),
                format!("the nodes are {}", known(names)),
            );
        };
        let called = |name: &str| node.services.iter().find(|of| of.service == name);
        let found = called(asked)
            .or_else(|| PRIMARY.contains(&asked).then(|| called(Role::Primary.as_str())).flatten());
        let Some(service) = found else {
            let names = node.services.iter().map(|of| of.service.as_str()).collect();
            return not_found(
                "there is no such service or page".to_owned(),
                format!("the services are {}, the pages {}", known(names), PAGES.join(", ")),
            );
        };
        let ready = service.state == crate::verdict::state::State::Ready.as_str();
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if ready {
            self.view.counted.spoken.ready(now);
        }
        Answer::json(
            code,
            &json!({ "version": status.version, "node": node.node, "service": service }),
        )
    }
}

/// Whether a path is that of the page for a person.
fn is_page(path: &str) -> bool {
    path == "/"
}

/// A candidate's question to a node here, where the request is one.
fn question(
    request: &Request<Incoming>,
    may: bool,
) -> Option<(Question, oneshot::Receiver<Option<String>>)> {
    let node = request.uri().path().strip_prefix(RELEASE)?.parse().ok().map(NodeId)?;
    // Parameters are refused as those of every page.
    let plain = request.uri().query().is_none_or(str::is_empty);
    if !may || request.method() != Method::GET || !plain {
        return None;
    }
    let header = |name| request.headers().get(name)?.to_str().ok();
    let from = NodeId(header(FROM)?.parse().ok()?);
    let (nonce, code) = (header(NONCE)?.to_owned(), header(CODE)?.to_owned());
    let without = match header(WITHOUT) {
        Some(number) => Some(Timeline(number.parse().ok()?)),
        None => None,
    };
    let (reply, answer) = oneshot::channel();
    Some((Question { node, from, nonce, without, code, reply }, answer))
}

struct Answer {
    code: StatusCode,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn text(code: StatusCode, body: &str) -> Self {
        Self { code, kind: TEXT, body: body.to_owned() }
    }

    fn json(code: StatusCode, value: &impl serde::Serialize) -> Self {
        // Every key is a string and nothing here fails to be one.
        let body = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
        Self { code, kind: JSON, body }
    }

    fn problem(code: StatusCode, what: &str, hint: &str) -> Self {
        Self::json(code, &json!({ "error": what, "hint": hint }))
    }

    fn response(self, method: &Method) -> Response<Full<Bytes>> {
        let body = if method == Method::GET { self.body } else { String::new() };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.kind == HTML {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        if method == Method::OPTIONS || self.code == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        }
        response
    }
}
