"""stacksmith: declarative servers on libvirt and Redfish, in OpenStack's words, with no control plane."""

__version__ = "0.1.0"
