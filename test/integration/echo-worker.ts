/**
 * A worker for the tests of the primary: echoes WebSocket messages and HTTP bodies, and does at request what a
 * worker should never do. ECHO_WORKER holds a comma-separated list of how it is to misbehave.
 */
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { joinPrimary, readBootData, reportFailure } from '../../shards/primary-channel.js';

const boot = readBootData();
const faults = (process.env.ECHO_WORKER ?? '').split(',');
const peers: string[] = [];
let open = 0;

const webSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://x');
  if (pathname === '/crash') process.exit(3);
  if (pathname === '/spin') for (;;);
  if (pathname === '/who') {
    const { slot, incarnation, epochs, segmentPath, socketsDir } = boot;
    const { pid } = process;
    response.end(JSON.stringify({ slot, incarnation, pid, epochs, peers, segmentPath, socketsDir }));
    return;
  }
  response.setHeader('content-length', request.headers['content-length'] ?? 0);
  request.pipe(response);
});
server.on('connection', (socket) => {
  open++;
  socket.once('close', () => open--);
});
server.on('upgrade', (request, socket, head) => {
  webSockets.handleUpgrade(request, socket, head, (webSocket) => {
    webSocket.on('message', (data, isBinary) => webSocket.send(data, { binary: isBinary }));
  });
});

const channel = joinPrimary({
  onConnection: (socket) => server.emit('connection', socket),
  onPeerUp: (slot, incarnation) => peers.push(`up ${slot}.${incarnation}`),
  onPeerDown: (slot, incarnation) => peers.push(`down ${slot}.${incarnation}`),
  onDrain() {
    if (faults.includes('never-drains')) return;
    for (const webSocket of webSockets.clients) webSocket.close(1001, 'SHUTTING_DOWN');
    const look = setInterval(() => {
      if (webSockets.clients.size > 0) return;
      clearInterval(look);
      channel.drained();
    }, 5);
  },
  connections: () => open,
});

if (faults.includes('says-why')) reportFailure('DATA_DIR_UNWRITABLE', 'dataDir /nowhere: cannot be written');
else if (faults.includes('crashes-at-start')) process.exit(7);
else if (faults.includes('one-never-ready') && boot.slot === 1) setInterval(() => {}, 1000);
else if (faults.includes('recovers-slowly')) {
  // Longer than the test gives it, but it says so.
  let left = 14;
  const work = setInterval(() => {
    if (--left > 0) channel.recovering();
    else {
      clearInterval(work);
      channel.ready(7);
    }
  }, 300);
} else if (boot.accept === 'self') server.listen(boot.listen.port, boot.listen.host, () => channel.ready(0));
else channel.ready(0);
