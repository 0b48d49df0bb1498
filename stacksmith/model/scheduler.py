"""What a fleet says about scheduling, in the names of nova's [filter_scheduler]."""

from typing import Final

from pydantic import Field

from stacksmith.model.spec import Spec

GROUP_FILTERS: Final = {"anti-affinity": "ServerGroupAntiAffinityFilter", "affinity": "ServerGroupAffinityFilter"}
HINT_FILTERS: Final = {"different_host": "DifferentHostFilter", "same_host": "SameHostFilter"}
ASKING_FILTERS: Final = {  # hints that are no servers
    "query": "JsonFilter",
    "build_near_host_ip": "SimpleCIDRAffinityFilter",
    "cidr": "SimpleCIDRAffinityFilter",
}
TENANTS: Final = "filter_tenant_id"  # begins the metadata keys that name tenants

# What holds when the fleet says nothing: nova's default, and the filters that only servers' own words wake.
DEFAULT_FILTERS: Final = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    *GROUP_FILTERS.values(),
    *HINT_FILTERS.values(),
)
FILTERS: Final = (
    *DEFAULT_FILTERS,
    "AggregateImagePropertiesIsolation",
    "AggregateInstanceExtraSpecsFilter",
    "AggregateIoOpsFilter",
    "AggregateMultiTenancyIsolation",
    "AggregateNumInstancesFilter",
    "AggregateTypeAffinityFilter",
    "AllHostsFilter",
    "IoOpsFilter",
    "IsolatedHostsFilter",
    "JsonFilter",
    "MetricsFilter",
    "NUMATopologyFilter",
    "NumInstancesFilter",
    "PciPassthroughFilter",
    "SimpleCIDRAffinityFilter",
)
_GONE: Final = "Nova took it out: inventories with their ratios decide"
REFUSED_FILTERS: Final[dict[str, str]] = {
    "RetryFilter": "Nova took it out: a step that fails is planned again",
    "AvailabilityZoneFilter": "Nova took it out: zones always hold",
    **dict.fromkeys(
        ("CoreFilter", "RamFilter", "DiskFilter", "AggregateCoreFilter", "AggregateRamFilter", "AggregateDiskFilter"),
        _GONE,
    ),
    **dict.fromkeys(("ExactCoreFilter", "ExactRamFilter", "ExactDiskFilter"), _GONE),
    "TypeAffinityFilter": "Nova took it out: use AggregateTypeAffinityFilter",
    "TrustedFilter": "Nova took it out: use traits",
}


# Weighers with the option that holds their multiplier, and its default.
WEIGHERS: Final[dict[str, tuple[str, float]]] = {
    "RAMWeigher": ("ram_weight_multiplier", 1.0),
    "CPUWeigher": ("cpu_weight_multiplier", 1.0),
    "DiskWeigher": ("disk_weight_multiplier", 1.0),
    "HypervisorVersionWeigher": ("hypervisor_version_weight_multiplier", 1.0),
    "PCIWeigher": ("pci_weight_multiplier", 1.0),
    "NumInstancesWeigher": ("num_instances_weight_multiplier", 0.0),
    "IoOpsWeigher": ("io_ops_weight_multiplier", -1.0),
    "MetricsWeigher": ("metrics_weight_multiplier", 1.0),
    "ImagePropertiesWeigher": ("image_props_weight_multiplier", 0.0),
    "ServerGroupSoftAffinityWeigher": ("soft_affinity_weight_multiplier", 1.0),
    "ServerGroupSoftAntiAffinityWeigher": ("soft_anti_affinity_weight_multiplier", 1.0),
    "BuildFailureWeigher": ("build_failure_weight_multiplier", 1_000_000.0),
    "CrossCellWeigher": ("cross_cell_move_weight_multiplier", 1_000_000.0),
}
MULTIPLIERS: Final = {option: name for name, (option, _) in WEIGHERS.items()}


class SchedulerSpec(Spec):
    """How servers find hosts, in the names of nova's [filter_scheduler]."""

    enabled_filters: list[str] = Field(
        default_factory=lambda: list(DEFAULT_FILTERS),
        description="Filters by name; host states, NUMA cells and devices always count",
    )
    isolated_hosts: list[str] = Field(default_factory=list, description="With IsolatedHostsFilter")
    isolated_images: list[str] = Field(default_factory=list, description="With IsolatedHostsFilter: names of images")
    restrict_isolated_hosts_to_isolated_images: bool = Field(True, description="With IsolatedHostsFilter")
    aggregate_image_properties_isolation_namespace: str | None = Field(
        None, description="With AggregateImagePropertiesIsolation: look only at metadata keys that start so"
    )
    aggregate_image_properties_isolation_separator: str = Field(
        ".", description="Between the namespace and the rest of the key"
    )
    max_instances_per_host: int = Field(
        50, ge=1, description="With NumInstancesFilter; the aggregates' smallest wins with AggregateNumInstancesFilter"
    )
    max_io_ops_per_host: int = Field(
        8, ge=1, description="With IoOpsFilter; the aggregates' smallest wins with AggregateIoOpsFilter"
    )
    weight_classes: list[str] | None = Field(
        None, description="Weighers by name, all of them where only multipliers are given; they replace the strategy"
    )
    ram_weight_multiplier: float | None = Field(None, description="Default 1.0; negative fills hosts up")
    cpu_weight_multiplier: float | None = Field(None, description="Default 1.0; negative fills hosts up")
    disk_weight_multiplier: float | None = Field(None, description="Default 1.0; negative fills hosts up")
    hypervisor_version_weight_multiplier: float | None = Field(None, description="Default 1.0: newer ones first")
    pci_weight_multiplier: float | None = Field(
        None, ge=0, description="Default 1.0: hosts with few free PCI devices first, to keep the others for who asks"
    )
    num_instances_weight_multiplier: float | None = Field(None, description="Default 0.0; negative spreads")
    io_ops_weight_multiplier: float | None = Field(
        None, description="Default -1.0: hosts on which the plan has little to do first"
    )
    metrics_weight_multiplier: float | None = Field(None, description="Default 1.0")
    metrics_weight_setting: dict[str, float] = Field(
        default_factory=dict, description="With MetricsWeigher and MetricsFilter: metrics of hosts, with their weights"
    )
    metrics_required: bool = Field(
        True,
        description="With MetricsWeigher: a host without one of the metrics is an error, unless MetricsFilter is on",
    )
    metrics_weight_of_unavailable: float = Field(
        -10000.0, description="With metrics_required false: what a host without one of the metrics weighs"
    )
    image_props_weight_multiplier: float | None = Field(
        None, description="Default 0.0; positive brings servers with equal image properties together"
    )
    image_props_weight_setting: dict[str, float] = Field(
        default_factory=dict, description="Properties that count, with their weights; default: all, equally"
    )
    build_failure_weight_multiplier: float | None = Field(
        None, description="Default 1000000.0: hosts on which servers could not be made come last, till one could be"
    )
    cross_cell_move_weight_multiplier: float | None = Field(
        None, description="Default 1000000.0; a fleet is one cell, where it counts for nothing"
    )
    soft_affinity_weight_multiplier: float | None = Field(None, ge=0, description="Default 1.0")
    soft_anti_affinity_weight_multiplier: float | None = Field(None, ge=0, description="Default 1.0")

    @property
    def weighers(self) -> dict[str, float]:
        """The enabled weighers with their multipliers; none when the fleet asks for none."""
        given = {option: getattr(self, option) for option in MULTIPLIERS}
        if self.weight_classes is None and all(value is None for value in given.values()):
            return {}
        names = WEIGHERS if self.weight_classes is None else dict.fromkeys(self.weight_classes)
        chosen = {name: WEIGHERS[name] for name in names if name in WEIGHERS}
        return {name: given[o] if given[o] is not None else default for name, (o, default) in chosen.items()}


# Options and keys of aggregates' metadata, with the filters (and weighers) that read them.
OPTION_FILTERS: Final[dict[str, tuple[str, ...]]] = {
    "isolated_hosts": ("IsolatedHostsFilter",),
    "isolated_images": ("IsolatedHostsFilter",),
    "restrict_isolated_hosts_to_isolated_images": ("IsolatedHostsFilter",),
    "aggregate_image_properties_isolation_namespace": ("AggregateImagePropertiesIsolation",),
    "aggregate_image_properties_isolation_separator": ("AggregateImagePropertiesIsolation",),
    "max_instances_per_host": ("NumInstancesFilter", "AggregateNumInstancesFilter"),
    "max_io_ops_per_host": ("IoOpsFilter", "AggregateIoOpsFilter"),
    "metrics_weight_setting": ("MetricsWeigher", "MetricsFilter"),
    "metrics_required": ("MetricsWeigher",),
    "metrics_weight_of_unavailable": ("MetricsWeigher",),
}
METADATA_FILTERS: Final[dict[str, str]] = {
    "max_instances_per_host": "AggregateNumInstancesFilter",
    "max_io_ops_per_host": "AggregateIoOpsFilter",
    "instance_type": "AggregateTypeAffinityFilter",
}
