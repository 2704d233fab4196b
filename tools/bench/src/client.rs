//! The HTTP client of the load generator.

use std::rc::Rc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{
    StatusCode, Uri,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::spawn_local};

use crate::load::{Request, Service};

/// The addresses of the two services, as HOST:PORT.
#[derive(Clone)]
pub(crate) struct Addresses {
    issuance: Rc<str>,
    verification: Rc<str>,
}

impl Addresses {
    pub(crate) fn new(issuance: &Uri, verification: &Uri) -> Result<Self> {
        let address = |url: &Uri| {
            let host = url.host().with_context(|| format!("{url} has no host"))?;
            anyhow::Ok(Rc::from(format!("{host}:{}", url.port_u16().unwrap_or(80))))
        };
        Ok(Self { issuance: address(issuance)?, verification: address(verification)? })
    }
}

/// A client with one connection to each service, or to both if they have the same address.
pub(crate) struct Client {
    addresses: Addresses,
    issuance: Option<SendRequest<Full<Bytes>>>,
    verification: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(addresses: Addresses) -> Self {
        Self { addresses, issuance: None, verification: None }
    }

    fn connection(&mut self, service: Service) -> (&mut Option<SendRequest<Full<Bytes>>>, Rc<str>) {
        let Addresses { issuance, verification } = &self.addresses;
        if service == Service::Issuance || issuance == verification {
            (&mut self.issuance, Rc::clone(issuance))
        } else {
            (&mut self.verification, Rc::clone(verification))
        }
    }

    /// Connects to a service unless there is a connection that can still be used.
    pub(crate) async fn connect(&mut self, service: Service) -> Result<&mut SendRequest<Full<Bytes>>> {
        let (connection, address) = self.connection(service);
        let usable = match connection.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = TcpStream::connect(&*address).await;
            let stream = stream.with_context(|| format!("cannot connect to {address}"))?;
            stream.set_nodelay(true)?;
            let (sender, driver) = handshake(TokioIo::new(stream)).await?;
            // The requests report its errors.
            spawn_local(async move { drop(driver.await) });
            *connection = Some(sender);
        }
        connection.as_mut().context("there is no connection")
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn send(&mut self, request: Request) -> Result<(StatusCode, Bytes)> {
        let (_, address) = self.connection(request.service);
        let sender = self.connect(request.service).await?;
        let request = http::Request::builder()
            .method(request.method)
            .uri(request.path)
            .header(HOST, &*address)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(request.body))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
