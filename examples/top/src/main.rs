//! Three pools under load, shown live on the terminal, or as a web page with `--web`.

use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use formicary::{BoxError, CancelToken};
use formicary_top::demo::Demo;
use formicary_top::{terminal, web};
use lexopt::{Arg, Parser, ValueExt};

#[derive(Debug, Default)]
struct Args {
    /// Where the web page is. `None`: the terminal.
    web: Option<SocketAddr>,
    seconds: Option<Duration>,
}

fn main() -> ExitCode {
    let run = match parse() {
        Ok(Some(args)) => run(&args),
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => Err(error),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("formicary-top: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Parses the arguments of the process. Returns `None` after printing the help.
fn parse() -> Result<Option<Args>, BoxError> {
    let mut parser = Parser::from_env();
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("web") => {
                let addr = parser.optional_value().map(|value| value.parse()).transpose()?;
                args.web = Some(addr.unwrap_or(web::DEFAULT_ADDR));
            }
            Arg::Value(addr) if args.web.is_some() => args.web = Some(addr.parse()?),
            Arg::Long("seconds") => {
                let seconds: f64 = parser.value()?.parse()?;
                args.seconds = Some(Duration::try_from_secs_f64(seconds)?);
            }
            Arg::Short('h') | Arg::Long("help") => {
                help();
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(args))
}

fn help() {
    println!(
        "Shows three pools under a load, live.

usage: formicary-top [OPTIONS]

  --web [ADDR]  a web page instead of the terminal; any free port if it is 0 [default: {}]
  --seconds N   ends by itself
  -h, --help    print this

Keys: arrows select a pool, p pauses and resumes it, + and - change its capacity, q quits.",
        web::DEFAULT_ADDR
    );
}

fn run(args: &Args) -> Result<(), BoxError> {
    let stop = CancelToken::new();
    if let Some(limit) = args.seconds {
        stop.cancel_after(limit);
    }
    let interrupted = stop.clone();
    ctrlc::set_handler(move || interrupted.cancel())?;
    if args.web.is_none() && !stdout().is_terminal() {
        return Err("stdout is no terminal: try --web".into());
    }
    let _demo = Demo::start()?;
    match args.web {
        Some(addr) => {
            let server = web::serve(addr).map_err(|error| format!("{addr}: {error}"))?;
            println!("http://{}/", server.addr());
            stop.wait();
        }
        None => terminal::run(&stop)?,
    }
    Ok(())
}
