//! Compiles a file: a component, or a core module that is first turned into one, as in Spin.

use std::{borrow::Cow, path::Path};

use anyhow::{Context, Result, ensure};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmtime::{
    Cache, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ProfilingStrategy,
    component::{Component, Linker},
};
use wasmtime_wasi_http::{handler::ProxyPre, p2, p3};
use wit_component::{ComponentEncoder, metadata};

use crate::{
    guest::{Guest, linker},
    log::log,
};

/// Of all components together.
const MAX_INSTANCES: u32 = 1000;

/// The first bytes of every core module; a component has another version.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Compiles components.
pub(crate) struct Loader {
    engine: Engine,
    linker: Linker<Guest>,
}

impl Loader {
    /// `perf_map` gives the functions of components names in perf.
    pub(crate) fn new(perf_map: bool) -> Result<Self> {
        let engine = engine(perf_map)?;
        let linker = linker(&engine).map_err(one_line)?;
        Ok(Self { engine, linker })
    }

    /// Compiles a file, which must export the handler of one version of WASI.
    ///
    /// # Errors
    /// One line that says why the file cannot run here.
    pub(crate) fn load(&self, source: &Path) -> Result<ProxyPre<Guest>> {
        let file = std::fs::read(source)?;
        let component = componentize(&file)?;
        let instance = Component::new(&self.engine, component)
            .and_then(|component| self.linker.instantiate_pre(&component))
            .map_err(one_line)?;
        match (p2::bindings::ProxyPre::new(instance.clone()), p3::bindings::ServicePre::new(instance)) {
            (Ok(proxy), Err(_)) => Ok(ProxyPre::P2(proxy)),
            (Err(_), Ok(service)) => Ok(ProxyPre::P3(service)),
            (Err(wasi_0_2), Err(wasi_0_3)) => {
                let (wasi_0_2, wasi_0_3) = (one_line(wasi_0_2), one_line(wasi_0_3));
                Err(anyhow::anyhow!(
                    "it exports no HTTP handler: {wasi_0_2} (WASI 0.2), {wasi_0_3} (WASI 0.3)"
                ))
            }
            (Ok(_), Ok(_)) => {
                Err(anyhow::anyhow!("it exports the HTTP handlers of WASI 0.2 and 0.3; export only one"))
            }
        }
    }
}

fn engine(perf_map: bool) -> Result<Engine> {
    let mut pooling = PoolingAllocationConfig::default();
    // As many instances as in Spin. A component consists of several core instances, and may have two tables.
    pooling
        .total_component_instances(MAX_INSTANCES)
        .total_memories(MAX_INSTANCES)
        .total_stacks(MAX_INSTANCES)
        .total_tables(2 * MAX_INSTANCES)
        .total_core_instances(4 * MAX_INSTANCES);
    let mut config = Config::new();
    config.wasm_component_model_async(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    if perf_map {
        config.profiler(ProfilingStrategy::PerfMap);
    }
    // Compiling takes seconds. The result is kept in the user's cache folder, if there is one.
    match Cache::from_file(None) {
        Ok(cache) => drop(config.cache(Some(cache))),
        Err(error) => log!("compiled components are not cached: {error}"),
    }
    Engine::new(&config).map_err(one_line).context("wasmtime cannot start")
}

/// Turns a core module that a Spin SDK built for wasm32-wasip1 into a component. Any other file stays as it is.
fn componentize(file: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !file.starts_with(CORE_MODULE) {
        return Ok(Cow::Borrowed(file));
    }
    // wit-bindgen describes the interfaces in a custom section. Spin takes a module without one for that of an old SDK.
    let (described, _) = metadata::decode(file).map_err(causes)?;
    ensure!(
        described.is_some(),
        "it is a core module that does not describe its interfaces; build it with spin-sdk 5 for \
         wasm32-wasip1, or as a component"
    );
    let component = ComponentEncoder::default()
        .validate(true)
        .module(file)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .and_then(|mut encoder| encoder.encode())
        .map_err(causes)?;
    Ok(Cow::Owned(component))
}

/// Wasmtime's error with its causes, on one line.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn one_line(error: wasmtime::Error) -> anyhow::Error {
    join(error.chain())
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn causes(error: anyhow::Error) -> anyhow::Error {
    join(error.chain())
}

fn join<'a>(causes: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>) -> anyhow::Error {
    let causes: Vec<_> = causes.map(|cause| cause.to_string().replace('\n', " ")).collect();
    anyhow::anyhow!("{}", causes.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(module)` and a custom section, if there is one.
    fn module(section: Option<(&str, &[u8])>) -> Vec<u8> {
        let mut module = CORE_MODULE.to_vec();
        if let Some((name, content)) = section {
            let length = |length: usize| u8::try_from(length).unwrap();
            module.extend([0, length(1 + name.len() + content.len()), length(name.len())]);
            module.extend(name.bytes().chain(content.iter().copied()));
        }
        module
    }

    #[track_caller]
    fn refusal(module: &[u8]) -> String {
        let error = format!("{:#}", componentize(module).unwrap_err());
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn a_component_stays_as_it_is() {
        let component = b"\0asm\r\0\x01\0";
        assert!(matches!(componentize(component), Ok(Cow::Borrowed(same)) if same == component));
    }

    #[test]
    fn a_module_that_does_not_describe_its_interfaces_is_refused() {
        assert!(refusal(&module(None)).contains("build it with spin-sdk 5"));
        assert!(refusal(&module(Some(("producers", b"\0")))).contains("build it with spin-sdk 5"));
    }

    #[test]
    fn a_module_with_an_unreadable_description_is_refused() {
        let error = refusal(&module(Some(("component-type:old", b"\x02"))));
        assert!(error.contains("decoding custom section component-type:old"), "{error}");
    }

    #[test]
    fn a_truncated_module_is_refused() {
        let whole = module(Some(("producers", b"\0")));
        refusal(&whole[..whole.len() - 1]);
    }
}
