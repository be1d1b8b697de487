// One end of a measured pair, by node:net. See mod.rs for the arguments, and ../worker/mod.rs for what it says.
'use strict';

const net = require('node:net');
const readline = require('node:readline');

const [role, address, port, size] = [process.argv[2], process.argv[3], Number(process.argv[4]), Number(process.argv[5])];
const message = Buffer.alloc(size, 0x5a);
// Messages that have come, and those that are to come by the end of the round.
let [seen, goal, start, socket] = [0, 0, 0n, null];

function say(line) {
  process.stdout.write(line + '\n');
}

function finish() {
  say(`ran ${start} ${process.hrtime.bigint()} 0`);
}

function began(connected) {
  socket = connected;
  socket.setNoDelay(true);
  let bytes = 0;
  socket.on('data', (chunk) => {
    for (bytes += chunk.length; bytes >= size; bytes -= size) {
      seen += 1;
      if (role === 'server' || seen < goal) socket.write(message);
      if (seen === goal) finish();
    }
  });
  say('ready 0');
  readline.createInterface({ input: process.stdin }).on('line', command);
}

function command(line) {
  if (line === 'end') {
    say('bye 0 0');
    process.exit(0);
  }
  goal += Number(line);
  start = process.hrtime.bigint();
  if (role === 'client') socket.write(message);
  // A server may have served all before it reads how many they are.
  else if (seen === goal) finish();
}

if (role === 'client') {
  const connecting = net.connect(port, address, () => began(connecting));
} else {
  const server = net.createServer(began).listen(port, address, () => say(`ready ${server.address().port}`));
}
