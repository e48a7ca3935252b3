//! Starts the workers: all on the same driver, or none.
//!
//! Each worker builds its own ring on its own thread, so whether a driver works is known only
//! there. They try one driver together, report, and wait for the verdict: when one of them fails
//! (the kernel refuses, the memory lock limit is spent), all drop theirs and try the next. Only when
//! all have a loop do they get their sockets, so that nobody connects to a node that fails to start.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::{Worker, WorkerConfig, pulse};
use crate::accept::greet::Greeting;
use crate::accept::listen;
use crate::io::{Driver, Listener, Runtime, Wakeup, spawn};
use crate::link::worker_handle::{EndReport, WorkerSeat, WorkerState};
use crate::settings::DriverChoice;

/// What one worker starts from.
#[derive(Debug)]
pub struct Seat {
    /// What the rest of the process shares with it.
    pub link: WorkerSeat,
    /// The core to run on.
    pub core: Option<usize>,
}

/// Why no worker runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread could not be made.
    #[error("a worker thread could not be started: {0}")]
    Thread(io::Error),
    /// The driver that the settings ask for does not work here.
    #[error(
        "no worker loop could be built with driver \"{driver}\": {cause}; set driver = \"auto\""
    )]
    Driver {
        /// The last one tried.
        driver: Driver,
        /// Why it failed.
        cause: io::Error,
    },
    /// A worker ended before it was ready.
    #[error("a worker ended before it was ready")]
    Lost,
}

/// A worker's listening sockets, and what each asks of a connection.
pub type Listeners = Vec<(TcpListener, Greeting)>;

/// What a worker hears after it reported.
#[derive(Debug)]
enum Order {
    Try(Driver),
    Go(Listeners),
}

/// Workers with a loop each, all on the same driver, that wait for their sockets.
#[derive(Debug)]
pub struct Crew {
    driver: Driver,
    orders: Vec<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a thread for each seat; returns when all have a loop on one driver.
pub fn gather(config: &WorkerConfig, seats: Vec<Seat>) -> Result<Crew, StartError> {
    let (report, reports) = unbounded();
    let mut orders = Vec::new();
    let mut threads = Vec::new();
    for seat in seats {
        let (order, ordered) = bounded(1);
        let (config, report) = (config.clone(), report.clone());
        let thread = thread::Builder::new()
            .name(format!("worker-{}", seat.link.handle.index))
            .spawn(move || work(&config, seat, &ordered, &report))
            .map_err(StartError::Thread)?;
        orders.push(order);
        threads.push(thread);
    }
    drop(report);
    let driver = settle(config.settings.driver, &orders, &reports)?;
    Ok(Crew {
        driver,
        orders,
        threads,
    })
}

impl Crew {
    /// Lets each worker accept from its own of `sockets`; their threads.
    pub fn go(self, sockets: Vec<Listeners>) -> Result<Vec<JoinHandle<()>>, StartError> {
        for (to, listeners) in self.orders.iter().zip(sockets) {
            let order = Order::Go(listeners);
            to.send(order).map_err(|_| StartError::Lost)?;
        }
        let (driver, workers) = (self.driver, self.threads.len());
        tracing::info!(%driver, workers, "workers run");
        Ok(self.threads)
    }
}

/// Finds the best driver that every worker can build.
fn settle(
    choice: DriverChoice,
    orders: &[Sender<Order>],
    reports: &Receiver<io::Result<()>>,
) -> Result<Driver, StartError> {
    let (mut driver, may_fall_back) = match choice {
        DriverChoice::Auto => (Driver::UringDeferred, true),
        DriverChoice::Uring => (Driver::UringDeferred, true),
        DriverChoice::Epoll => (Driver::Epoll, false),
    };
    loop {
        for to in orders {
            to.send(Order::Try(driver)).map_err(|_| StartError::Lost)?;
        }
        let mut failure = None;
        for _ in orders {
            if let Err(cause) = reports.recv().map_err(|_| StartError::Lost)? {
                failure = Some(cause);
            }
        }
        let Some(cause) = failure else {
            return Ok(driver);
        };
        let next = driver.next().filter(|next| {
            may_fall_back && (choice == DriverChoice::Auto || *next != Driver::Epoll)
        });
        let Some(next) = next else {
            return Err(StartError::Driver { driver, cause });
        };
        tracing::warn!(%driver, %next, %cause, "falling back to another driver");
        driver = next;
    }
}

fn work(
    config: &WorkerConfig,
    seat: Seat,
    ordered: &Receiver<Order>,
    report: &Sender<io::Result<()>>,
) {
    let _end = EndReport(Arc::clone(&seat.link.handle));
    prepare_thread(&seat);
    let mut built = None;
    // The channel closes when the others cannot start: then neither does this one.
    while let Ok(order) = ordered.recv() {
        match (order, built.take()) {
            (Order::Try(driver), previous) => {
                // Before the next is built: two rings may be more than the limit allows.
                drop(previous);
                let outcome = Runtime::build(driver).map(|runtime| built = Some((runtime, driver)));
                if report.send(outcome).is_err() {
                    return;
                }
            }
            (Order::Go(listeners), Some((mut runtime, driver))) => {
                // Set once: only the verdict gets here.
                let _ = seat.link.handle.driver.set(driver);
                runtime.block_on(serve(config, seat, listeners));
                return;
            }
            (Order::Go(_), None) => return,
        }
    }
}

/// Signals belong to the main thread: one that interrupts a worker's wait would only delay it.
fn prepare_thread(seat: &Seat) {
    use nix::sched::{CpuSet, sched_setaffinity};
    use nix::sys::signal::SigSet;
    use nix::unistd::Pid;
    let _ = SigSet::all().thread_block();
    let Some(core) = seat.core else { return };
    let mut cores = CpuSet::new();
    let pinned = cores
        .set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
    if let Err(error) = pinned {
        tracing::warn!(worker = seat.link.handle.index, core, %error, "the worker is not pinned");
    }
}

async fn serve(config: &WorkerConfig, seat: Seat, listeners: Listeners) {
    let handle = Arc::clone(&seat.link.handle);
    match adopt(config, seat, listeners) {
        Ok((worker, listeners, wakeup)) => {
            worker.adopt();
            handle.report(WorkerState::Serving);
            for (listener, greeting) in &listeners {
                spawn(listen::run(
                    Rc::clone(&worker),
                    Rc::clone(listener),
                    *greeting,
                ));
            }
            let listeners = listeners.into_iter().map(|(listener, _)| listener);
            pulse::run(worker, listeners.collect(), wakeup).await;
        }
        Err(error) => tracing::error!(worker = handle.index, %error, "the worker cannot serve"),
    }
}

type Adopted = (Rc<Worker>, Vec<(Rc<Listener>, Greeting)>, Wakeup);

fn adopt(config: &WorkerConfig, seat: Seat, listeners: Listeners) -> io::Result<Adopted> {
    let wakeup = Wakeup::adopt(seat.link.wake)?;
    let listeners = listeners
        .into_iter()
        .map(|(socket, greeting)| Ok((Rc::new(Listener::adopt(socket)?), greeting)))
        .collect::<io::Result<_>>()?;
    let seed = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok((
        Rc::new(Worker::new(config, seat.link.handle, seed)),
        listeners,
        wakeup,
    ))
}
