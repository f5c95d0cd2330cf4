#!/usr/bin/env python3
"""Checks deploy/'s kustomizations: manifests.py KUBECTL PORTCULLIS."""

import os
import pathlib
import subprocess
import sys
import tempfile
import threading

import kubernetes_validate
import yaml

DEPLOY = pathlib.Path("deploy")


def main(kubectl, portcullis):
    components, ordinary = kustomizations()
    failures = [f"{path}: no kustomization uses this component"
                for path in sorted(components - used(ordinary))]
    for path in sorted(ordinary):
        resources = render(kubectl, path)
        found = validate(resources) or check_pods(resources, portcullis)
        failures += [f"{path}: {problem}" for problem in found]
        print(f"{path}: {len(resources)} resources, {'FAILED' if found else 'ok'}")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    sys.exit(1 if failures or not ordinary else 0)


def kustomizations():
    """Folders of components, and of ordinary kustomizations."""
    components, ordinary = set(), set()
    for file in DEPLOY.rglob("kustomization.yaml"):
        kind = yaml.safe_load(file.read_text())["kind"]
        (components if kind == "Component" else ordinary).add(file.parent)
    return components, ordinary


def used(folders):
    """Components that these kustomizations use, also by way of each other."""
    found, ahead = set(), set(folders)
    while ahead:
        folder = ahead.pop()
        wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
        for name in wanted.get("components", []) + wanted.get("resources", []):
            other = pathlib.Path(os.path.relpath(folder / name))
            if (other / "kustomization.yaml").exists() and other not in found:
                found.add(other)
                ahead.add(other)
    return found


def render(kubectl, folder):
    command = [kubectl, "kustomize", str(folder)]
    rendered = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return list(yaml.safe_load_all(rendered))


def validate(resources):
    """What the schemas of the newest Kubernetes known say, unknown fields included."""
    version = kubernetes_validate.latest_version()
    problems = []
    for resource in resources:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(step) for step in error.path)
            name = resource["metadata"]["name"]
            problems.append(f"{resource['kind']} {name}: {where}: {error.message}")
    return problems


def check_pods(resources, portcullis):
    pods = [one["spec"]["template"] for one in resources if one["kind"] == "Deployment"]
    services = [one for one in resources if one["kind"] == "Service"]
    if not pods or not services:
        return ["renders no pod, or no service in front of one"]
    return [problem for pod in pods
            for problem in check_pod(pod, services, resources) + start(pod, resources, portcullis)]


def check_pod(pod, services, resources):
    """A pod is complete when everything that it names is there, and confined."""
    spec = pod["spec"]
    problems = []
    gates = [one for one in spec.get("initContainers", []) if one["name"] == "portcullis"]
    if [one.get("restartPolicy") for one in gates] != ["Always"]:
        return ["no native sidecar named portcullis"]
    ports = {port["name"] for one in gates for port in one["ports"]}
    for service in services:
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                problems.append(f"the service's port {port['name']} goes around the gate")
        if not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items():
            problems.append("the service does not select the pod")
    volumes = {volume["name"] for volume in spec["volumes"]}
    have = {(one["kind"], one["metadata"]["name"]) for one in resources}
    for volume in spec["volumes"]:
        config, claim = volume.get("configMap"), volume.get("persistentVolumeClaim")
        if config and ("ConfigMap", config["name"]) not in have:
            problems.append(f"the ConfigMap {config['name']} is missing")
        if claim and ("PersistentVolumeClaim", claim["claimName"]) not in have:
            problems.append(f"the claim {claim['claimName']} is missing")
    for container in spec["initContainers"] + spec["containers"]:
        name, security = container["name"], container.get("securityContext", {})
        confined = (security.get("runAsNonRoot") and security.get("readOnlyRootFilesystem")
                    and not security.get("allowPrivilegeEscalation", True)
                    and security.get("capabilities") == {"drop": ["ALL"]})
        if not confined:
            problems.append(f"the container {name} is not confined")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                problems.append(f"{name} mounts {mount['name']}, which is no volume")
    return problems


def start(pod, resources, portcullis):
    """Does on this machine what the pod's containers do before the first request."""
    config = {}
    for one in resources:
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "portcullis-config":
            config = one["data"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(portcullis, "init", folder / "made")
        store = run(portcullis, "-c", folder / "made/portcullis.toml", "export")
        secret = folder / "etc/portcullis-secret"
        for place in ("etc/portcullis", "etc/portcullis-secret", "var/lib/portcullis", "run/portcullis"):
            (folder / place).mkdir(parents=True)
        for name, text in config.items():
            # What the pod mounts under /, this check has in its folder.
            moved = text.replace('"/etc/', f'"{folder}/etc/').replace(":/var/", f":{folder}/var/")
            (folder / "etc/portcullis" / name).write_text(moved)
        (secret / "seed.jsonl").write_text(store)
        (folder / "made/digest.key").rename(secret / "digest.key")
        containers = [one for one in pod["spec"]["initContainers"] if one["image"].split(":")[0]
                      .endswith("portcullis")]
        ended = [one for one in containers if one.get("restartPolicy") != "Always"]
        kept = {one["name"]: one for one in containers if one.get("restartPolicy") == "Always"}
        gate, lane = kept.get("portcullis", {}), kept.get("portcullis-lane")
        if containers[-1] is not gate or gate["args"] != ["serve"]:
            return [f"the last container is {containers[-1]['name']}, its command {gate.get('args')}"]
        configured = (portcullis, "-c", folder / "etc/portcullis/portcullis.toml")
        try:
            # Twice: init containers run again when a pod's node restarts.
            for one in ended * 2:
                command = [arg.replace("/etc/", f"{folder}/etc/") for arg in one["args"]]
                run(*configured, *command, env=environment(one, folder))
            run(*configured, "check", env=environment(gate, folder))
        except subprocess.CalledProcessError as error:
            return [f"{' '.join(map(str, error.cmd[3:]))}: {error.stderr.strip()}"]
        return start_lane(configured, lane, gate, folder) if lane else []


def start_lane(configured, lane, gate, folder):
    """Whether the lane's container listens where the gate asks it."""
    wanted, asked = (environment(one, folder) for one in (lane, gate))
    if wanted["PORTCULLIS_LEGACY__SOCKET"] != asked.get("PORTCULLIS_LEGACY__SOCKET"):
        return ["the gate does not ask the lane where it listens"]
    socket = pathlib.Path(wanted["PORTCULLIS_LEGACY__SOCKET"].removeprefix("unix:"))
    # Ports of this machine are others'.
    wanted["PORTCULLIS_LEGACY__ADMIN"] = "127.0.0.1:0"
    command = [str(part) for part in (*configured, *lane["args"])]
    process = subprocess.Popen(command, env=os.environ | wanted, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    said = []
    # By then it has its handlers of signals as well.
    for line in process.stderr:
        said.append(line.strip())
        if "slow lane listening" in line:
            break
    listened = socket.exists()
    process.terminate()
    said.append(process.communicate()[1].strip())
    watchdog.cancel()
    return [] if listened and process.returncode == 0 else ["the lane does not run", *said]


def environment(container, folder):
    """A container's variables, as they are for this check's folder."""
    variables = {one["name"]: one["value"] for one in container.get("env", [])}
    return {name: value.replace(":/run/", f":{folder}/run/") for name, value in variables.items()}


def run(*command, env=None):
    return subprocess.run([str(part) for part in command], check=True, text=True,
                          env=os.environ | (env or {}), stdin=subprocess.DEVNULL,
                          capture_output=True).stdout


main(*sys.argv[1:])
