// The three commands of the npm package "socks", each as its documentation has it.
//
//     node socks.js connect   PROXY-HOST PROXY-PORT HOST PORT
//     node socks.js bind      PROXY-HOST PROXY-PORT HOST PORT
//     node socks.js associate PROXY-HOST PROXY-PORT HOST PORT TEXT...
//
// Says what happens as JSON, a line for each event.
'use strict';

const dgram = require('dgram');
const { SocksClient } = require('socks');

const [command, proxyHost, proxyPort, host, port, ...texts] = process.argv.slice(2);
const destination = { host, port: Number(port) };

function say(what) {
  process.stdout.write(JSON.stringify(what) + '\n');
}

// It gives up by itself: whoever waits for a line then sees the end.
setTimeout(() => process.exit(3), 25000).unref();

const client = new SocksClient({
  proxy: { host: proxyHost, port: Number(proxyPort), type: 5 },
  // ASSOCIATE's is where the datagrams will come from, which is not known yet.
  destination: command === 'associate' ? { host: '0.0.0.0', port: 0 } : destination,
  command,
});

client.on('error', (error) => {
  say({ error: error.message });
  process.exit(1);
});

client.on('bound', (info) => say({ bound: info.remoteHost }));

client.on('established', (info) => {
  say({ established: info.remoteHost });
  if (command === 'associate') {
    exchange(info);
    return;
  }
  // Whoever is there gets "hello", and what it then says is said here.
  let heard = '';
  info.socket.on('data', (data) => { heard += data; });
  info.socket.on('end', () => {
    say({ heard });
    process.exit(0);
  });
  info.socket.resume();
  info.socket.end('hello');
});

function exchange(info) {
  const socket = dgram.createSocket('udp4');
  let left = texts.length;
  socket.on('message', (message) => {
    const { frameNumber, remoteHost, data } = SocksClient.parseUDPFrame(message);
    say({ frameNumber, from: remoteHost, text: data.toString() });
    left -= 1;
    if (left === 0) {
      process.exit(0);
    }
    send();
  });
  function send() {
    const data = Buffer.from(texts[texts.length - left]);
    const frame = SocksClient.createUDPFrame({ remoteHost: destination, data });
    socket.send(frame, info.remoteHost.port, info.remoteHost.host);
  }
  send();
}

client.connect();
