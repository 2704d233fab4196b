//! The pools of connections, one for each connection string and root certificate, as in Spin.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{Config, NoTls, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// In one pool. A guest that asks for another waits until one is given back, however long that takes.
const MAX_CONNECTIONS: usize = 64;

/// The pools of one component.
#[derive(Default)]
pub(super) struct Pools(Mutex<HashMap<Key, Pool>>);

/// A connection string, and the root certificate that goes with it.
type Key = (String, Option<RootCertificate>);

/// A certificate authority that a guest trusts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RootCertificate(CertificateDer<'static>);

impl RootCertificate {
    /// Reads the first certificate of a PEM file.
    pub(crate) fn from_pem(text: &str) -> Result<Self> {
        let invalid = "invalid root certificate";
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).context(invalid)?;
        RootCertStore::empty().add(certificate.clone()).context(invalid)?;
        Ok(Self(certificate))
    }
}

impl Pools {
    /// Takes a connection, or makes one if none is idle.
    pub(super) async fn connect(&self, address: &str, root: Option<&RootCertificate>) -> Result<Object> {
        let pool = self.pool(address, root).context("establishing PostgreSQL connection pool")?;
        Ok(pool.get().await?)
    }

    fn pool(&self, address: &str, root: Option<&RootCertificate>) -> Result<Pool> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.to_owned(), root.cloned());
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let pool = make(address, root)?;
        pools.insert(key, pool.clone());
        Ok(pool)
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The connection strings have passwords.
        formatter.write_str("Pools")
    }
}

fn make(address: &str, root: Option<&RootCertificate>) -> Result<Pool> {
    let config: Config = address.parse().context("parsing Postgres connection string")?;
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Clean };
    let manager = if config.get_ssl_mode() == SslMode::Disable {
        Manager::from_config(config, NoTls, recycling)
    } else {
        Manager::from_config(config, MakeRustlsConnect::new(tls(root)?), recycling)
    };
    Pool::builder(manager).max_size(MAX_CONNECTIONS).build().context("building Postgres connection pool")
}

/// Trusts the authorities that the machine trusts, and the guest's.
fn tls(root: Option<&RootCertificate>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // A machine may have none: servers may do without TLS.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(RootCertificate(certificate)) = root {
        roots.add(certificate.clone())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(config.with_no_client_auth())
}
