//! A bug that panics costs the connection it happened on, and nothing else.

mod support;

use support::{Gateway, Origin, World, get, wait};

#[test]
fn a_panic_costs_one_connection_is_counted_and_the_worker_goes_on() {
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .variable("KEYWAY_TEST_FAULTS", "1")
        .start();
    let mut bystander = gateway.client();
    bystander.exchange(&gateway.good()).assert_status(200);

    let mut unlucky = gateway.client();
    unlucky.send(get("/orders/1").header("Keyway-Test-Panic", "yes").bytes());
    unlucky.assert_closed();

    bystander.exchange(&gateway.good()).assert_status(200);
    gateway.get().assert_status(200);
    wait::until("the panic to be counted", || {
        gateway.metrics().sum("keyway_panics_total", &[]) == 1.0
    });
}

#[test]
fn without_the_variable_nobody_can_ask_for_a_panic() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let asking = gateway.good().header("Keyway-Test-Panic", "yes");
    gateway.exchange(&asking).assert_status(200);
}
