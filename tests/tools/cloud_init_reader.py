"""What cloud-init itself makes of a config drive, as JSON on stdout. Runs outside the project, with cloud-init's
packages on the path: cloud_init_reader.py ConfigDrive|NoCloud CLOUD_DIR '{"52:54:00:00:00:01": "ens3"}'

CLOUD_DIR/seed/config_drive or CLOUD_DIR/seed/nocloud holds the drive's files. Only CLOUD_DIR is written to.
"""

import base64
import json
import sys
from pathlib import Path

from cloudinit import helpers
from cloudinit.net import eni, network_state
from cloudinit.sources import DataSourceConfigDrive, DataSourceNoCloud

SOURCES = {
    "ConfigDrive": DataSourceConfigDrive.DataSourceConfigDrive,
    "NoCloud": DataSourceNoCloud.DataSourceNoCloud,
}


def main(name, cloud_dir, interfaces):
    """Prints the answers of the data source ``name``; ``interfaces`` are the names of the guest's by MAC."""
    paths = helpers.Paths({"cloud_dir": cloud_dir, "run_dir": f"{cloud_dir}/run"})
    # Without a label to look for, no device of this machine is probed.
    source = SOURCES[name]({"datasource": {name: {"fs_label": None}}}, None, paths)
    claimed = source._get_data()
    answer = {"claimed": bool(claimed)}
    if claimed:
        source.known_macs = interfaces
        name = source.get_hostname()
        answer |= {
            "instance_id": source.get_instance_id(),
            "hostname": getattr(name, "hostname", name),
            "keys": source.get_public_ssh_keys(),
            "metadata": source.metadata,
            "user_data": base64.b64encode(as_bytes(source.get_userdata_raw())).decode(),
            "user_data_types": [part.get_content_type() for part in source.get_userdata().walk()][1:],
            "network": source.network_config,
            "interfaces": rendered(source.network_config, cloud_dir, interfaces),
        }
    # As UTF-8, which has no room for half a character: ASCII's escapes would hide one.
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode())


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def rendered(config, cloud_dir, interfaces):
    """/etc/network/interfaces as cloud-init writes it on a guest that has these interfaces."""
    network_state.get_interfaces_by_mac = lambda: interfaces
    network_state.find_interface_name_from_mac = interfaces.get
    state = network_state.parse_net_config_data(config)
    target = Path(cloud_dir, "root")
    eni.Renderer({"eni_path": "interfaces", "netrules_path": None}).render_network_state(state, target=str(target))
    return (target / "interfaces").read_text()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
