//! A runtime that kills itself with SIGKILL at the frame that `LONGHAUL_TEST_CUT` names. It takes the words of
//! `longhaul --data DIRECTORY serve --sandbox isolated`, which is also what it does until then.

use std::error::Error;
use std::sync::Arc;

use longhaul::http::ControlSocket;
use longhaul::{CreditOptions, Options, Runtime};
use longhaul_tests::isolated::blade::Blade;

fn main() -> Result<(), Box<dyn Error>> {
    longhaul::intercept();
    work()
}

#[tokio::main]
async fn work() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [_, directory, _, _, _] = &words[..] else {
        return Err("cut-under-test --data DIRECTORY serve --sandbox isolated".into());
    };
    let variable = |name: &str| std::env::var(name).ok();
    let cut = variable("LONGHAUL_TEST_CUT").ok_or("LONGHAUL_TEST_CUT names no frame")?;
    let mut options = Options::default();
    options.journal_disk = Some(Arc::new(Blade::over(cut.parse()?)));
    options.credits = CreditOptions::from_environment(variable)?;
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let runtime = Runtime::open(directory, options).await?;
    let socket = ControlSocket::bind(directory, runtime.control()).await?;
    println!("{}", socket.path().display());
    stop.recv().await;
    socket.close().await;
    runtime.close().await;
    Ok(())
}
