"""An SMTP server that keeps each mail as a file: smtp.py PORT_FILE FOLDER"""

import asyncio
import os
import sys

from aiosmtpd.smtp import SMTP

port_file, folder = sys.argv[1], sys.argv[2]


class Keep:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        Keep.count += 1
        with open(os.path.join(folder, f"{Keep.count}.eml"), "wb") as out:
            out.write(envelope.content)
        return "250 kept"


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keep()), "127.0.0.1", 0)
    with open(port_file + ".new", "w") as out:
        out.write(str(server.sockets[0].getsockname()[1]))
    os.rename(port_file + ".new", port_file)
    await server.serve_forever()


asyncio.run(main())
