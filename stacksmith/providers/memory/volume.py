"""Volumes and images of the memory provider: objects whose names are their identity."""

from collections.abc import Iterator
from dataclasses import replace

from stacksmith.model.found import Found, Mark
from stacksmith.model.naming import image_file_name, volume_name
from stacksmith.model.realised import Image, ImageFile, Server, Volume, from_data, to_data
from stacksmith.providers.base import Contents, Deadline, Driver, Gone, Refused, Target
from stacksmith.providers.memory.driver import ObjectDriver, WorldDriver, owned
from stacksmith.providers.memory.found import found_image
from stacksmith.providers.memory.world import HostState, Object, Stage


class VolumeDriver(ObjectDriver):
    """Volumes: made whole, or as a copy of an image that is on the host."""

    kind = "volume"

    def native_name(self, mark: Mark) -> str:
        """As libvirt's."""
        extension = (mark.applied or {}).get("format", "qcow2")
        return volume_name(mark.stack, mark.address, mark.uuid, extension)

    def check_free(self, state: HostState, target: Target, item: Object | None) -> None:
        """Raises: Refused when the image it is a copy of is not there."""
        assert isinstance(target.wanted, Volume)
        image = target.wanted.image
        if item is None and image is not None and not has_image(state, image):
            raise Refused(f"image {image} is not on {self.host}", "image")

    def make(self, target: Target, contents: Contents) -> Iterator[str]:
        """Allocates, copies the image's bytes when there are some."""
        assert isinstance(target.wanted, Volume)
        whole = Object(
            "volume",
            self.native_name(target.mark),
            target.mark.uuid,
            target.wanted,
            target.mark,
            made_for=str(target.mark.address),
        )
        if target.wanted.image is not None:
            self.put(replace(whole, stage=Stage.DEFINED))
            yield "allocate"
        self.put(whole)
        yield "define"

    def migrate(self, target: Target, destination: Driver, contents: Contents, deadline: Deadline) -> Found:
        """Ends the move of a volume that its server took along: removes what it left."""
        if not isinstance(destination, VolumeDriver) or destination.world is not self.world:
            raise Refused(f"{target.host} is not a host of this world")
        call = self.begin("migrate", target.mark, deadline)
        with self.world.reading(destination.host) as state:
            there = destination.lookup(state, target.mark)
            if there is None or there.stage is not Stage.MOVED or volume_user(state, target.mark) is None:
                raise Refused(f"{target.mark.address} did not come to {destination.host} with its server")
        if destination.host != self.host:
            with self.world.changing(self.host) as state:
                left = self.lookup(state, target.mark)
                if left is not None:
                    self.check_unused(state, left, target.mark)
                    state.remove("volume", left.name)
        self.world.reach(call, "disks", deadline)
        destination.put(replace(there, stage=Stage.COMPLETE))
        self.world.reach(call, "end", deadline)
        return destination._now(target.mark)

    def check_unused(self, state: HostState, item: Object, mark: Mark) -> None:
        """A volume that a server has attached stays."""
        user = volume_user(state, mark)
        if user is not None:
            raise Refused(f"volume {item.name} is attached to server {user.name}")


def volume_user(state: HostState, mark: Mark, ref: str = "") -> Object | None:
    """The server of the mark's stack that has volume ``ref`` (default: the mark's own) among its disks."""
    wanted = ref or str(mark.address)
    for server in state.objects["server"].values():
        if not owned(server, mark) or server.stage is Stage.PARTS:
            continue
        for spec in (server.spec, server.saved):
            if isinstance(spec, Server) and any(d.source == "volume" and d.ref == wanted for d in spec.disks):
                return server
    return None


def has_image(state: HostState, checksum: str) -> bool:
    """True when a complete file with these bytes is on the host."""
    return any(
        item.stage is Stage.COMPLETE and isinstance(item.spec, Image) and item.spec.files[0].checksum == checksum
        for item in state.objects["image"].values()
    )


class ImageDriver(WorldDriver):
    """Images: one object a file, named by its checksum and shared by every stack of the host."""

    kind = "image"

    def read(self, mark: Mark) -> Found | None:
        """The image of which ``mark.applied`` lists the files, or None when no file of it is there."""
        self.begin("read", mark)
        return self._image(mark)

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Uploads the files that are not there yet; a cut off upload begins anew."""
        return self._complete("create", target, contents, deadline)

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Uploads the files that the image has got in addition."""
        return self._complete("update", target, contents, deadline)

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Removes the files. Those that other stacks' servers run on stay; our own servers on them: Refused."""
        call = self.begin("delete", target.mark, deadline)
        seen = target.found.spec if target.found else None
        files = dict.fromkeys((*(seen.files if isinstance(seen, Image) else ()), *_files(target.mark)))
        with self.world.changing(self.host) as state:
            users = {file: _users(state, file.checksum) for file in files}
            for server in (s for servers in users.values() for s in servers if owned(s, target.mark)):
                raise Refused(f"image {target.mark.address.name} is in use by server {server.name}")
            for file in (f for f in files if not users[f]):
                state.remove("image", image_file_name(file.checksum, file.role))
        self.world.reach(call, "end", deadline)

    def _complete(self, operation: str, target: Target, contents: Contents, deadline: Deadline) -> Found:
        call = self.begin(operation, target.mark, deadline)
        assert isinstance(target.wanted, Image)
        for file in target.wanted.files:
            for part in self._upload(file, target.mark, contents):
                self.world.reach(call, part, deadline)
        self.world.reach(call, "end", deadline)
        made = self._image(replace(target.mark, applied=to_data(target.wanted)))
        if made is None:
            raise Gone(f"image {target.mark.address.name} went away")
        return made

    def _upload(self, file: ImageFile, mark: Mark, contents: Contents) -> Iterator[str]:
        name = image_file_name(file.checksum, file.role)
        with self.world.reading(self.host) as state:
            item = state.objects["image"].get(name)
        if item is not None and item.stage is Stage.COMPLETE:
            return
        contents.image_file(file.checksum)
        address = f"image.{mark.address.name}"
        whole = Object("image", name, name, Image((file,)), made_for=address)
        self.put(replace(whole, stage=Stage.PARTS))
        yield "upload"
        self.put(whole)
        yield "complete"

    def _image(self, mark: Mark) -> Found | None:
        with self.world.reading(self.host) as state:
            names = [(file, image_file_name(file.checksum, file.role)) for file in _files(mark)]
            present = [(file, state.objects["image"][name]) for file, name in names if name in state.objects["image"]]
        if not present:
            return None
        return found_image(present, mark.address, mark.uuid)


def _files(mark: Mark) -> tuple[ImageFile, ...]:
    image = from_data("image", mark.applied) if mark.applied else None
    return image.files if isinstance(image, Image) else ()


def _users(state: HostState, checksum: str) -> list[Object]:
    """Servers with a disk, kernel or ramdisk that is this file."""
    return [
        server
        for server in state.objects["server"].values()
        if isinstance(server.spec, Server)
        and (
            checksum in {server.spec.kernel, server.spec.ramdisk}
            or any(d.source == "image" and d.ref == checksum for d in server.spec.disks)
        )
    ]
