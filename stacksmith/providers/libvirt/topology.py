"""How a guest's vCPUs are arranged."""

from stacksmith.model.realised import Server


def topology(spec: Server) -> tuple[int, int, int] | None:
    """(sockets, cores, threads) whose product is the most vCPUs the server can have; None when none is declared.

    What is not declared is one thread, then as many cores as remain, then sockets (Nova prefers sockets, which
    guests with few licences cannot use).
    """
    sockets, cores, threads = spec.cpu_sockets, spec.cpu_cores, spec.cpu_threads
    if sockets is cores is threads is None:
        return None
    total, threads = spec.max_vcpus or spec.vcpus, threads or 1
    if cores is None:
        cores = max(1, total // ((sockets or 1) * threads))
    return sockets or max(1, total // (cores * threads)), cores, threads
