//! gRPC through the gateway: the library of most languages (gRPC C-core, by Python) as client and server, and nginx between.

use crate::support::command::{python_with, run};
use crate::support::peers::Peer;
use crate::support::programs;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, basic};

/// Answers with what it is sent, in each of the four kinds of call.
const SERVER: &str = "
import sys, grpc
from concurrent import futures
def unary(request, context):
    if request == b'refuse':
        context.set_trailing_metadata((('x-why', 'test'),))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, 'not you: \\u00e4 %')
    context.send_initial_metadata((('x-initial', '1'),))
    context.set_trailing_metadata((('x-trailing', '2'), ('x-some-bin', bytes([0, 255]))))
    return request[::-1]
def count(request, context):
    for number in range(int(request)):
        yield b'%d' % number
    if request == b'3':
        context.abort(grpc.StatusCode.DATA_LOSS, 'after three')
def total(requests, context):
    return b'%d' % sum(len(request) for request in requests)
def loud(requests, context):
    for request in requests:
        yield request.upper()
handlers = grpc.method_handlers_generic_handler('t.T', {
    'Unary': grpc.unary_unary_rpc_method_handler(unary),
    'Count': grpc.unary_stream_rpc_method_handler(count),
    'Total': grpc.stream_unary_rpc_method_handler(total),
    'Loud': grpc.stream_stream_rpc_method_handler(loud),
})
server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((handlers,))
assert server.add_insecure_port('127.0.0.1:' + sys.argv[1])
server.start()
server.wait_for_termination()
";

const CLIENT: &str = "
import sys, grpc, queue
channel = grpc.insecure_channel(sys.argv[1])
who = (('authorization', sys.argv[2]),)
options = dict(metadata=who, timeout=30)
unary = channel.unary_unary('/t.T/Unary')
answer, call = unary.with_call(b'abc', **options)
assert answer == b'cba', answer
assert dict(call.initial_metadata())['x-initial'] == '1', call.initial_metadata()
trailing = dict(call.trailing_metadata())
assert trailing['x-trailing'] == '2' and trailing['x-some-bin'] == bytes([0, 255]), trailing
assert unary(b'x' * 3000000, **options) == b'x' * 3000000
try:
    unary(b'refuse', **options)
    raise SystemExit('not refused')
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED, error
    assert error.details() == 'not you: \\u00e4 %', error.details()
    assert dict(error.trailing_metadata())['x-why'] == 'test', error
assert [int(n) for n in channel.unary_stream('/t.T/Count')(b'500', **options)] == list(range(500))
seen = []
try:
    for number in channel.unary_stream('/t.T/Count')(b'3', **options):
        seen.append(number)
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DATA_LOSS and error.details() == 'after three', error
assert seen == [b'0', b'1', b'2'], seen
assert channel.stream_unary('/t.T/Total')(iter([b'x' * 1000] * 500), **options) == b'500000'
# Each message is answered before the next one is sent.
words = queue.Queue()
answers = channel.stream_stream('/t.T/Loud')(iter(words.get, None), **options)
for word in (b'one', b'two', b'three'):
    words.put(word)
    assert next(answers) == word.upper()
words.put(None)
assert list(answers) == []
try:
    channel.unary_unary('/t.T/Missing')(b'', **options)
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
try:
    unary(b'abc', timeout=30)
    raise SystemExit('without a user')
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
print('all of it')
";

fn call(python: &str, target: &str, what: &str) {
    let mut client = programs::command(python);
    client.args(["-c", CLIENT, target, &basic(ALICE.0, ALICE.1)]);
    let outcome = run(&mut client, "");
    assert_eq!(outcome.stdout, "all of it\n", "{what}: {}", outcome.stderr);
}

#[test]
fn all_kinds_of_calls_pass_with_their_status() {
    let Some(python) = python_with("grpc") else {
        return;
    };
    let server = Peer::python(python, SERVER);
    let gateway = |upstream: &str| {
        Proxy::start(&format!(
            "gateway: {{ upstreams: ['{upstream}'], http2: only }}"
        ))
    };
    let direct = gateway(&server.port.address.to_string());
    call(python, &direct.address.to_string(), "direct");
    // nginx behind it, and in front of it.
    let pass = |to: &str| {
        format!(
            "server {{ listen PORT http2; client_max_body_size 10m; location / {{ grpc_pass grpc://{to}; }} }}"
        )
    };
    let behind = Peer::nginx(&pass(&server.port.address.to_string()));
    let chained = gateway(&behind.port.address.to_string());
    call(python, &chained.address.to_string(), "nginx behind");
    let front = Peer::nginx(&pass(&direct.address.to_string()));
    call(python, &front.port.address.to_string(), "nginx in front");
    let records = direct.wait_records(10);
    let calls = records.iter().filter(|it| it["target"] == "/t.T/Unary");
    for record in calls {
        assert_eq!(record["version"], "HTTP/2.0", "{record}");
    }
}
