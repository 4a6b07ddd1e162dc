//! A gate behind the making of a connection: no byte of a request goes through before it is opened.
//!
//! So several addresses can be connected to beside each other and one of them is asked, whatever the others do:
//! reqwest itself sends its request as soon as it is connected.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tower::{Layer, Service};

/// For one connection; a layer around reqwest's connector.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    made: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    /// Waits for the connection to be made, its TLS as well.
    pub async fn reached(&self) {
        self.made.notified().await;
    }

    /// Lets the request go.
    pub fn open(&self) {
        self.open.notify_one();
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, connector: S) -> Gated<S> {
        Gated { connector, gate: self.clone() }
    }
}

/// A connector behind its gate.
#[derive(Debug, Clone)]
pub struct Gated<S> {
    connector: S,
    gate: Gate,
}

impl<S, To> Service<To> for Gated<S>
where
    S: Service<To>,
    S::Response: Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, to: To) -> Self::Future {
        let (connecting, gate) = (self.connector.call(to), self.gate.clone());
        Box::pin(async move {
            let connection = connecting.await?;
            gate.made.notify_one();
            gate.open.notified().await;
            Ok(connection)
        })
    }
}
