# The app of a mesh, as user 1000 in the server's pod: nginx, or Redis. Sourced by `up`.
# shellcheck shell=bash disable=SC2154  # names that `up` has set

start_app() {
    chown 1000:1000 "$state/app"
    if [[ $kind == redis ]]; then
        in_pod "$server" server-app 1000 redis-server --port $app_port --bind "$any" --protected-mode no --save '' --dir "$state/app"
    else
        nginx_app >"$state/app.conf"
        in_pod "$server" server-app 1000 nginx -e stderr -c "$state/app.conf"
    fi
    await server-app "$server" $app_port
}

# `/` is an answer of one segment, `/files/NAME` what lies in the mesh's directory `files`; what is posted to `/upload` is
# kept in a file, and the answer is its path.
nginx_app() {
    local directory=$state/app temporary='' each
    for each in proxy fastcgi uwsgi scgi; do temporary+="${each}_temp_path $directory/$each; "; done
    cat <<CONF
daemon off; worker_processes 1; pid $directory/nginx.pid; error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log off; sendfile on; keepalive_timeout 1h; keepalive_requests 1000000000; client_max_body_size 0;
    client_body_temp_path $directory/body; $temporary
    server {
        listen $(at "$any" $app_port) backlog=4096;
        location = / { return 200 "a static body of about a hundred bytes, which is small enough for a single segment of TCP\n"; }
        location /files/ { alias $state/files/; }
        location = /upload {
            client_body_in_file_only on; proxy_pass http://127.0.0.1:8081; proxy_pass_request_body off;
            proxy_set_header Content-Length ''; proxy_set_header X-File \$request_body_file;
        }
    }
    server { listen 127.0.0.1:8081; location / { return 200 \$http_x_file; } }
}
CONF
}
