//! Stopping, killing and restarting the control plane's processes while something uses it.

use super::{Component, ControlPlane};

impl ControlPlane {
    /// Stops a process without ending it: connections stay open and nothing answers.
    pub fn pause(&self, component: Component) {
        self.processes()[component as usize].signal("STOP");
    }

    pub fn resume(&self, component: Component) {
        self.processes()[component as usize].signal("CONT");
    }

    /// Ends a process at once; its port refuses connections until [`ControlPlane::restart`].
    pub fn kill(&self, component: Component) {
        self.processes()[component as usize].kill();
    }

    /// Starts a process again, killed or not, with the same port and data, and waits until the control plane serves.
    pub fn restart(&self, component: Component) {
        // A supervisor that lost its pipe before its child ended would remove the folder.
        self.kill(component);
        let process = self.spawn(component).unwrap_or_else(|error| panic!("{error}"));
        self.processes()[component as usize] = process;
        self.wait_until_up().unwrap_or_else(|error| panic!("{error}"));
    }
}
