//! Gives up every capability, and every way to get one back.

use rustix::thread::{self, CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use super::fault::{Fault, Step};
use crate::{sabotage, sys};

/// Empties all five capability sets, locks the rules by which root would regain them, and forbids that a program with
/// set-user-id or file capabilities brings new ones.
pub(crate) fn all_rights() -> Result<(), Fault> {
    let fault = Fault::of::<rustix::io::Errno>(Step::Capabilities);
    if !sabotage::is_on("keep-the-capabilities") {
        let locked = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        thread::clear_ambient_capability_set().map_err(&fault)?;
        thread::set_capabilities_secure_bits(locked).map_err(&fault)?;
        sys::empty_the_bounding_set().map_err(Fault::of(Step::Capabilities))?;
        let nothing = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        thread::set_capabilities(None, nothing).map_err(&fault)?;
    }
    if sabotage::is_on("allow-new-rights") {
        return Ok(());
    }
    thread::set_no_new_privs(true).map_err(Fault::of(Step::NoNewPrivileges))
}
