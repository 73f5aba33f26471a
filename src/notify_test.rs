//! `bellwether notify-test`: a test alert to one receiver, past the outbox.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::{app::StartError, cli::NotifyTestArgs, config};

/// Sends to all integrations of the receiver, and prints what became of it.
///
/// # Errors
/// Faults of the configuration, and a name that is no receiver's.
#[expect(clippy::print_stdout, reason = "the outcome is what this command prints")]
pub(crate) async fn run(args: &NotifyTestArgs) -> anyhow::Result<ExitCode> {
    let config = config::read(&args.config).map_err(StartError::Faults)?;
    let Some(receiver) = config.receivers.iter().find(|receiver| receiver.name() == args.receiver) else {
        let names: Vec<&str> = config.receivers.iter().map(alerting::Receiver::name).collect();
        bail!("there is no receiver `{}`; expected one of: {}", args.receiver, names.join(", "));
    };
    let external_url = config.external_url.clone().unwrap_or_else(|| format!("http://{}", config.api_listen));
    let outcomes = alerting::notify_test(receiver, &config.delivery.destinations, &external_url).await;
    let outcomes = outcomes.context("nothing can be sent")?;
    for outcome in &outcomes {
        let (name, key, took) = (receiver.name(), &outcome.integration, outcome.took.as_millis());
        match &outcome.result {
            Ok(Some(status)) => println!("{name} {key}: taken with {status} after {took} ms"),
            Ok(None) => println!("{name} {key}: taken after {took} ms"),
            Err(error) => println!("{name} {key}: not taken after {took} ms: {error}"),
        }
    }
    if outcomes.is_empty() {
        println!("{} has no integrations: nobody is told", receiver.name());
    }
    let is_well = outcomes.iter().all(|outcome| outcome.result.is_ok());
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
