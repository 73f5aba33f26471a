//! `bellwether serve`: from arguments to a running service and back.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use alerting::Receiver;
use anyhow::Context;
use detect::yaml::Fault;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::{App, StartError},
    cli::ServeArgs,
    config::{self, Config},
    reload::Reloader,
    rest::Info,
    telemetry::Telemetry,
};

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// What kept the service from starting.
pub(crate) async fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = configuration(args).map_err(StartError::Faults)?;
    let telemetry = Telemetry::start("info");
    let again = args.clone();
    let source = Arc::new(move || configuration(&again));
    let app = App::build(config, source).await?;
    telemetry.observe(&app.faces());
    // Whoever reads where we listen may ask us to stop at once.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    // Without a listener this signal ends the process.
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    tokio::spawn(reload_at(hangups, app.reloader()));
    announce(&app.info());
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    app.run(shutdown).await;
    telemetry.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Takes up the configuration at each signal. Never ends; why something was not taken up, the log says.
async fn reload_at(mut signals: Signal, reloader: Arc<Reloader>) {
    while signals.recv().await.is_some() {
        let _ = reloader.reload().await;
    }
}

/// The configuration file, if one is named, with the arguments on top.
fn configuration(args: &ServeArgs) -> Result<Config, Vec<Fault>> {
    let mut config = match &args.config {
        Some(path) => config::read(path)?,
        None => Config::default(),
    };
    if let Some(directory) = &args.data_dir {
        config.data_dir.clone_from(directory);
    }
    for (i, url) in args.webhook.iter().enumerate() {
        let name = if i == 0 { "webhook".to_owned() } else { format!("webhook-{}", i + 1) };
        let fault = |message| vec![Fault { file: "--webhook".into(), line: 0, message }];
        let receiver = Receiver::webhook(&name, url).map_err(|error| fault(error.to_string()))?;
        let places = receiver.integrations().iter().filter_map(|integration| integration.target().url());
        for place in places {
            config.delivery.destinations.check(place).map_err(fault)?;
        }
        config.receivers.push(receiver);
    }
    Ok(config)
}

/// Says where everything is, in plain lines that people and scripts can read.
///
/// Whoever reads them may have gone before the last one: `bellwether | head -1` is no reason to stop.
pub(crate) fn announce(info: &Info) {
    let rules: usize = info.rules.iter().map(|g| g.rules.len()).sum();
    let scheme = if info.start.is_encrypted { "https" } else { "http" };
    let receivers = match info.receivers.as_slice() {
        [] => "nobody yet: give --webhook URL, or receivers in the configuration".to_owned(),
        names => names.join(", "),
    };
    let lines = format!(
        "bellwether {}\n  OTLP/gRPC   {}\n  OTLP/HTTP   {scheme}://{}\n  page, REST  {}\n  data        {}\n  rules       \
         {rules} in {} groups\n  alerts to   {receivers}\n",
        info.start.version,
        info.start.grpc_address,
        info.start.http_address,
        info.start.external_url,
        info.start.data_dir.display(),
        info.rules.len(),
    );
    let _ = std::io::stdout().write_all(lines.as_bytes());
    warn_of_open_doors(info);
}

/// Says loudly what the network can read or do.
fn warn_of_open_doors(info: &Info) {
    let otlp = (info.start.is_encrypted, info.is_guarded || info.start.wants_certificates);
    let doors = [
        ("OTLP/gRPC", info.start.grpc_address, otlp),
        ("OTLP/HTTP", info.start.http_address, otlp),
        ("page, REST", info.start.api_address, (false, info.is_guarded)),
    ];
    for (what, address, defences) in doors.into_iter().filter(|(_, address, _)| !address.ip().is_loopback()) {
        match defences {
            (true, true) => {}
            (true, false) => tracing::warn!(%address, "{what} is open to the network without authentication"),
            (false, true) => {
                tracing::warn!(%address, "{what} is open to the network without encryption: credentials can be read");
            }
            (false, false) => {
                tracing::warn!(%address, "{what} is open to the network without encryption or authentication");
            }
        }
    }
}
