"""A cluster of the lab: its namespaces, its Kubernetes objects, its control and its proxies."""

import http.client
import json
import os
import secrets
import shutil
import sys
import uuid

import manifests
from net import FORWARDING, Namespace, attach
from process import LabError, PATIENCE_S, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
READY_PORT, METRICS_PORT, ADMIN_PORT, CONTROL_PORT = 15021, 15020, 15000, 15012
DNS_RECORDS = {  # what a cluster's ordinary resolver knows, for every cluster
    "kubernetes.default.svc.cluster.local": ["10.{number}.255.1"],
    "www.example.com": ["192.0.2.80", "2001:db8::80"],
}


def http_get(namespace, port, path, timeout_s=PATIENCE_S, host="127.0.0.1"):
    """(status, body as text) of a GET on a port of a namespace. OSError when nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    connection.sock = namespace.connect(host, port, timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer from port {port}: {error}") from None
    finally:
        connection.close()


def write_file(path, text, mode=0o644):
    """Whole or not at all: readers see the old content or the new."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pending = f"{path}.{secrets.token_hex(4)}"
    with open(os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(pending, path)


def as_deployed(verb):
    """What a container of config/deploy may do, and no more: root with two capabilities, or none; none can be gained."""
    allowed = ",+net_admin,+net_bind_service" if verb == "proxy" else ""
    return ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all{allowed}"]


class Daemon:
    """isthmus as a process of a namespace: `control` or `proxy`. Starting it again appends to the same logs."""

    def __init__(self, lab, verb, namespace, folder, config):
        self.lab, self.verb, self.namespace, self.folder, self.config = lab, verb, namespace, folder, config
        self.process = None
        self.config_path = os.path.join(folder, "config.yaml")
        os.makedirs(config["stateDir"], mode=0o700)

    @property
    def name(self):
        return f"{self.verb} of {self.namespace.name}"

    def start(self):
        """Writes the configuration and starts the process; await_ready() waits for it."""
        write_file(self.config_path, manifests.to_yaml(self.config))
        argv = [*as_deployed(self.verb), *self.lab.isthmus_command(), self.verb, "--config", self.config_path]
        self.process = self.namespace.start(argv, name=self.verb, log_name=self.verb, env=self.lab.daemon_env)

    def is_ready(self):
        self.ensure_running()
        try:
            return http_get(self.namespace, READY_PORT, "/healthz/ready")[0] == 200
        except OSError:
            return False

    def await_ready(self, timeout_s=PATIENCE_S):
        try:
            wait_until(f"{self.name} to be ready", self.is_ready, timeout_s)
        except LabError as error:
            raise LabError(f"{error}\n{self.last_words()}") from None

    def ensure_running(self):
        if self.process is None:
            raise LabError(f"{self.name} was not started")
        self.process.ensure_running()

    def stop(self, timeout_s=PATIENCE_S):
        """SIGTERM and the exit status."""
        return self.process.stop(timeout_s)

    def kill(self):
        self.process.kill()

    def restart(self, timeout_s=PATIENCE_S):
        """Stops it if it runs, starts it, waits until it is ready."""
        if self.process is not None and self.process.is_running():
            self.stop()
        self.start()
        self.await_ready(timeout_s)

    def last_words(self):
        return self.process.last_words() if self.process else ""

    def log(self):
        """What it told operators so far, as dictionaries: the JSON lines of standard error."""
        return _json_lines(self.process.err())

    def metrics(self):
        """{'name{label="value"}': number} of /metrics."""
        status, body = http_get(self.namespace, METRICS_PORT, "/metrics")
        if status != 200:
            raise LabError(f"{self.name}: /metrics answered {status}")
        lines = [line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, _, value in lines}

    def page(self, path):
        """A page of the admin port, which only answers on loopback, parsed."""
        status, body = http_get(self.namespace, ADMIN_PORT, path)
        if status != 200:
            raise LabError(f"{self.name}: {path} answered {status}: {body}")
        return json.loads(body)

    def ctl(self, *arguments, timeout_s=PATIENCE_S):
        """Runs `isthmus ctl ...` beside it; --json is added and the answer parsed."""
        done = self.namespace.run([self.lab.isthmus, "ctl", *arguments, "--json"], timeout_s=timeout_s)
        if done.returncode != 0:
            raise LabError(f"isthmus ctl {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)


def _json_lines(text):
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError:
                pass  # a line that is being written
    return found


class Node(Namespace):
    """A node: its pods hang on it, and its proxy captures what they say."""

    def __init__(self, cluster, number):
        super().__init__(f"{cluster.name}-{number}", os.path.join(cluster.folder, f"{cluster.name}-{number}"),
                         FORWARDING)
        self.cluster, self.number = cluster, number
        self.region, self.zone = cluster.name, f"{cluster.name}-{'abcdefgh'[number - 1]}"
        self.v4, self.v6 = f"10.{cluster.number}.0.{100 + number}", f"fd00:{cluster.number}::{100 + number}"
        self._n_pods = 0
        link = attach(self, cluster.router, self.v4, self.v6)
        cluster.router.ip(
            f"route add 10.{cluster.number}.{number}.0/24 via {self.v4} dev {link} onlink src {cluster.router.v4}",
            f"route add fd00:{cluster.number}:{number}::/64 via {self.v6} dev {link} onlink src {cluster.router.v6}")
        self.proxy = Daemon(cluster.lab, "proxy", self, self.log_dir, {
            "apiVersion": "isthmus.io/v1alpha1", "kind": "ProxyConfig",
            "node": self.name, "cluster": cluster.name, "trustDomain": cluster.trust_domain,
            "stateDir": os.path.join(self.log_dir, "state"),
            "control": {"address": f"{cluster.control_v4}:{CONTROL_PORT}",
                        "trustBundle": os.path.join(self.log_dir, "roots.pem"),
                        "tokenFile": os.path.join(self.log_dir, "token")}})
        token = secrets.token_hex(24)
        write_file(os.path.join(self.log_dir, "token"), token + "\n", 0o600)
        write_file(os.path.join(cluster.tokens_dir, self.name), token + "\n", 0o600)
        cluster.apply(manifests.node(self.name, [self.v4, self.v6], self.region, self.zone))

    def add_pod(self, name, namespace, service_account="default", labels=None, ready=True):
        """A pod on this node, with its object and its place in the EndpointSlices."""
        self._n_pods += 1
        pod = Pod(self, name, namespace, service_account, labels or {}, ready, 9 + self._n_pods)
        self.cluster.pods.append(pod)
        self.cluster.apply(pod.manifest())
        self.cluster.sync_endpoints()
        return pod

    def access_log(self):
        """The connections that the proxy logged so far, as dictionaries."""
        return _json_lines(self.proxy.process.out())


class Pod(Namespace):
    """A pod: a namespace with two addresses whose way out, and whose resolver, is its node."""

    def __init__(self, node, name, namespace, service_account, labels, ready, host):
        cluster = node.cluster
        super().__init__(f"{cluster.name}-{name}", os.path.join(node.log_dir, name))
        self.node, self.cluster, self.pod_name = node, cluster, name
        self.namespace, self.service_account = namespace, service_account
        self.labels, self.ready, self.uid = labels, ready, str(uuid.uuid4())
        self.v4 = f"10.{cluster.number}.{node.number}.{host}"
        self.v6 = f"fd00:{cluster.number}:{node.number}::{host}"
        attach(self, node, self.v4, self.v6)

    @property
    def spiffe_id(self):
        return f"spiffe://{self.cluster.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def manifest(self):
        return manifests.pod(self.pod_name, self.namespace, self.node.name, self.node.v4, [self.v4, self.v6],
                             self.service_account, self.labels, self.ready, self.uid)

    def command(self, argv):
        return [self.cluster.lab.enter_script, self.cluster.resolv_conf, *argv]

    def set_ready(self, ready):
        """As the kubelet would after its probe: the Pod's condition and the EndpointSlices change."""
        self.ready = ready
        self.cluster.apply(self.manifest())
        self.cluster.sync_endpoints()

    def delete(self):
        """Its processes, its addresses and its object go."""
        self.cluster.pods.remove(self)
        self.cluster.sync_endpoints()
        self.cluster.remove("Pod", self.pod_name, self.namespace)
        self.close()


class Cluster:
    """A cluster with its nodes. Objects put with apply() are files that its control watches."""

    def __init__(self, lab, name, number, n_nodes):
        self.lab, self.name, self.number = lab, name, number
        self.trust_domain = f"{name}.example"
        self.folder = os.path.join(lab.folder, name)
        self.control_v4 = f"10.{number}.0.10"
        control_dir = os.path.join(self.folder, "control")
        self.manifests_dir = os.path.join(control_dir, "manifests")
        self.tokens_dir = os.path.join(control_dir, "tokens")
        self.resolv_conf = os.path.join(self.folder, "resolv.conf")
        os.makedirs(self.manifests_dir)
        os.makedirs(self.tokens_dir, mode=0o700)
        self.pods, self.services, self._n_cluster_ips = [], {}, 0
        self.objects, self.api = {}, None  # (kind, namespace, name) -> object; api: api_objects.ApiServer
        self.router = Namespace(f"{name}-router", os.path.join(self.folder, "router"), FORWARDING)
        self.router.v4, self.router.v6 = f"10.{number}.0.1", f"fd00:{number}::1"
        self.router.ip(f"address add {self.router.v4}/32 dev lo", f"address add {self.router.v6}/128 dev lo nodad")
        self.control_namespace = self._attached("control", 10)
        self._start_resolver()
        self.control = Daemon(lab, "control", self.control_namespace, control_dir, self._control_config(control_dir))
        self.nodes = [Node(self, i + 1) for i in range(n_nodes)]

    def _attached(self, role, host):
        namespace = Namespace(f"{self.name}-{role}", os.path.join(self.folder, role))
        attach(namespace, self.router, f"10.{self.number}.0.{host}", f"fd00:{self.number}::{host}")
        return namespace

    def _start_resolver(self):
        namespace = self._attached("dns", 53)
        addresses = [f"10.{self.number}.0.53", f"fd00:{self.number}::53"]
        pairs = [f"{name}={address.format(number=self.number)}"
                 for name, known in DNS_RECORDS.items() for address in known]
        namespace.start([sys.executable, os.path.join(HERE, "dns_server.py"), *addresses, "--", *pairs], name="dns")
        self.dns_namespace = namespace
        write_file(self.resolv_conf, "".join(f"nameserver {a}\n" for a in addresses)
                   + "search ml-services.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")

    def _control_config(self, folder):
        return {
            "apiVersion": "isthmus.io/v1alpha1", "kind": "ControlConfig",
            "cluster": self.name, "trustDomain": self.trust_domain,
            "manifests": self.manifests_dir, "stateDir": os.path.join(folder, "state"),
            "listen": f"[::]:{CONTROL_PORT}",
            "clusterSetIPs": [f"10.{200 + self.number}.0.0/16", f"fd00:{200 + self.number}::/112"],
            "tokensDir": self.tokens_dir, "peers": []}

    def peer_with(self, other):
        """Configures the other cluster as a peer; both sides have to."""
        self.control.config["peers"].append({
            "name": other.name, "address": f"{other.control_v4}:{CONTROL_PORT}",
            "trustDomain": other.trust_domain, "trustBundle": self.bundle_path(other)})

    def bundle_path(self, other):
        return os.path.join(self.control.folder, f"peer-{other.name}.pem")

    @property
    def root_path(self):
        """Where control leaves its root certificate at its first start."""
        return os.path.join(self.control.config["stateDir"], "ca", "root.pem")

    def hand_out_root(self):
        """Waits for the root certificate, and gives it to the nodes and to the peers."""
        def made():
            self.control.ensure_running()
            return os.path.exists(self.root_path)

        wait_until(f"the root certificate of {self.name}", made)
        with open(self.root_path, encoding="ascii") as file:
            root = file.read()
        for node in self.nodes:
            write_file(os.path.join(node.log_dir, "roots.pem"), root)
        for other in self.lab.clusters.values():
            if other is not self:
                write_file(other.bundle_path(self), root)

    # ---- Kubernetes objects ----

    def _path(self, kind, name, namespace):
        return os.path.join(self.manifests_dir, f"{kind.lower()}-{namespace or 'cluster'}-{name}.yaml")

    def apply(self, *objects):
        """Puts or replaces objects."""
        for item in objects:
            metadata = item["metadata"]
            self.objects[item["kind"], metadata.get("namespace"), metadata["name"]] = item
            if self.api:
                self.api.apply(item)
                continue
            path = self._path(item["kind"], metadata["name"], metadata.get("namespace"))
            # Written beside the folder, so that control never sees a file that is not whole.
            pending = os.path.join(self.control.folder if hasattr(self, "control") else self.folder, "pending.yaml")
            write_file(pending, manifests.to_yaml(item))
            os.rename(pending, path)

    def remove(self, kind, name, namespace=None):
        del self.objects[kind, namespace, name]
        if self.api:
            self.api.remove(kind, name, namespace)
            return
        os.unlink(self._path(kind, name, namespace))

    def add_namespace(self, name, enrolled=True):
        self.apply(manifests.namespace(name, enrolled))

    def add_service(self, name, namespace, ports, selector, headless=False, export=None, annotations=None):
        """A service over the pods that carry the selector's labels; its EndpointSlices follow them from now on.

        ports: from manifests.port(). export: the version of the ServiceExport to make, such as "v1beta1". Answers the
        service's addresses, IPv4 first; None for a headless one.
        """
        cluster_ips = None
        if not headless:
            self._n_cluster_ips += 1
            cluster_ips = [f"10.{100 + self.number}.0.{self._n_cluster_ips}",
                           f"fd00:{100 + self.number}::{self._n_cluster_ips}"]
        self.services[namespace, name] = (ports, selector, headless)
        self.apply(manifests.service(name, namespace, ports, selector, cluster_ips, annotations=annotations))
        self.sync_endpoints()
        if export:
            self.apply(manifests.service_export(name, namespace, export))
        return cluster_ips

    def sync_endpoints(self):
        """Writes the EndpointSlices that follow from the services and the pods."""
        for (namespace, name), (ports, selector, headless) in self.services.items():
            backing = [pod for pod in self.pods
                       if pod.namespace == namespace and selector.items() <= pod.labels.items()]
            for family, attribute in (("IPv4", "v4"), ("IPv6", "v6")):
                endpoints = [manifests.endpoint(getattr(pod, attribute), pod.pod_name, namespace, pod.node.name,
                                                pod.node.zone, pod.ready, pod.pod_name if headless else None)
                             for pod in backing]
                self.apply(manifests.endpoint_slice(name, namespace, family, ports, endpoints, headless))

    def node_named(self, name):
        return next(node for node in self.nodes if node.name == name)

    def all_namespaces(self):
        return [*self.pods, *self.nodes, self.control_namespace, self.dns_namespace, self.router]

    def daemons(self):
        return [node.proxy for node in self.nodes] + [self.control]

    def close(self):
        for namespace in self.all_namespaces():
            namespace.close()
        shutil.rmtree(self.folder)
